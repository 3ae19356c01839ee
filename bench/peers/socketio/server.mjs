// The server's half of the benchmark for Socket.IO, as internal/target is for Go: it
// serves, prints its addresses, and obeys the runner on a control socket.
import http from 'node:http'
import net from 'node:net'
import { Server } from 'socket.io'

const hour = 3600e3 // a heartbeat that no test meets

const server = http.createServer()
const io = new Server(server, { transports: ['websocket'], pingInterval: hour, serveClient: false })
io.on('connection', (socket) => socket.join(socket.handshake.query.ch))

const publish = (channel, size) => io.to(channel).emit('m', payload(size))

// The same object as target.Payload makes, with the time in nanoseconds.
function payload(size) {
  const now = BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n
  const m = '@@T' + now.toString(16).padStart(16, '0')
  return { m, p: 'x'.repeat(Math.max(0, size - m.length - '{"m":"","p":""}'.length)) }
}

function obey([command, n, size, channel]) {
  switch (command) {
    case 'pub':
      for (let i = 0; i < n; i++) publish(channel, size)
      return 'ok'
    case 'rr':
      for (let i = 0; i < n; i++) publish('c' + (i % channel), size)
      return 'ok'
    case 'prep':
      return 'ok'
    case 'gc':
      globalThis.gc()
      globalThis.gc()
      return '{}'
    case 'stats':
      return '{}' // there is no Go in it
    default:
      return 'err unknown command'
  }
}

const control = net.createServer((socket) => {
  let rest = ''
  socket.setNoDelay(true)
  socket.on('error', () => {}) // the runner has ended
  socket.on('data', (data) => {
    const lines = (rest + data).split('\n')
    rest = lines.pop()
    for (const line of lines) socket.write(obey(line.split(' ')) + '\n')
  })
})

const address = ({ address, port }) => `${address}:${port}`
server.listen(0, '127.0.0.1', 4096, () => {
  control.listen(0, '127.0.0.1', () => {
    const spec = {
      proto: 'ws',
      path: '/socket.io/?EIO=4&transport=websocket&ch={ch}',
      engineIO: true,
      hello: ['40'],
      addr: address(server.address()),
      ctl: address(control.address()),
    }
    console.log(JSON.stringify(spec))
  })
})

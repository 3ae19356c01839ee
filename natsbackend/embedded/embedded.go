// Package embedded runs a NATS server with JetStream inside a process, for
// deployments of a few nodes that want no other program:
//
//	srv, err := embedded.Start(embedded.Options{Name: "a", Dir: "/var/lib/app", Cluster: "10.0.0.1:6222",
//		Routes: []string{"10.0.0.2:6222", "10.0.0.3:6222"}})
//	…
//	b, err := natsbackend.New(ctx, natsbackend.Options{URL: srv.URL(), Replicas: 3})
//
// It is a module of its own, since the server is large.
package embedded

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Options say how a server runs. Zero fields mean the defaults.
type Options struct {
	// Name tells the servers of a cluster apart. Required in a cluster.
	Name string
	// Dir keeps what JetStream stores. Required.
	Dir string
	// Listen is the address for clients. Default 127.0.0.1 and any free port.
	Listen string
	// Cluster is the address for the other servers; "" runs a single server.
	Cluster string
	// Routes are the Cluster addresses of the other servers.
	Routes []string
	// SyncAlways has the server write to disk before it answers. Without it a common
	// power cut can lose up to two minutes.
	SyncAlways bool
}

// startTime is how long Start waits for the server.
const startTime = 30 * time.Second

// maxPayload is the size of the largest message, in bytes: more than natsbackend
// asks for.
const maxPayload = 8 << 20

// Server is a running server.
type Server struct{ srv *server.Server }

// Start starts a server; its owner calls [Server.Close]. Without Cluster it returns
// when the server is ready. In a cluster that takes a majority of the servers, for
// which natsbackend.New waits.
func Start(o Options) (*Server, error) {
	if o.Dir == "" {
		return nil, errors.New("embedded: Options.Dir is missing")
	}
	so := &server.Options{
		ServerName: o.Name, Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: o.Dir,
		NoSigs: true, NoLog: true, MaxPayload: maxPayload, MaxPending: 4 * maxPayload, SyncAlways: o.SyncAlways,
	}
	var err error
	if o.Listen != "" {
		if so.Host, so.Port, err = address(o.Listen); err != nil {
			return nil, fmt.Errorf("embedded: Options.Listen: %w", err)
		}
	}
	if o.Cluster != "" {
		so.Cluster.Name = "maravilla-realtime"
		if so.Cluster.Host, so.Cluster.Port, err = address(o.Cluster); err != nil {
			return nil, fmt.Errorf("embedded: Options.Cluster: %w", err)
		}
		for _, r := range o.Routes {
			so.Routes = append(so.Routes, &url.URL{Scheme: "nats", Host: r})
		}
	}
	srv, err := server.NewServer(so)
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(startTime) {
		srv.Shutdown()
		return nil, errors.New("embedded: the server does not start")
	}
	return &Server{srv}, nil
}

func address(s string) (host string, port int, err error) {
	host, digits, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(digits)
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, err
}

// URL is where clients reach the server.
func (s *Server) URL() string { return s.srv.ClientURL() }

// Close shuts the server down and waits until it has written what it stores.
func (s *Server) Close() {
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
}

package run

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// cpuTime returns the CPU time that the server has used, in nanoseconds: of the user and
// of the kernel, by the books of the scheduler, without threads that have ended.
func (s *server) cpuTime() (total float64) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.cmd.Process.Pid))
	for _, name := range files {
		b, _ := os.ReadFile(name) // "" where the thread has just ended
		n, _, _ := strings.Cut(string(b), " ")
		ns, _ := strconv.ParseFloat(n, 64)
		total += ns
	}
	return total
}

// resident returns the memory that the server holds, in KiB.
func (s *server) resident() float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	n, _ := strconv.ParseFloat(strings.Fields(rest + " 0")[0], 64)
	return n
}

// kernelMemory returns the memory that the kernel holds for itself, in KiB: objects, such
// as sockets and files, stacks of threads, and page tables. It has both ends of all
// connections, and whatever else the machine does.
func kernelMemory() (total float64) {
	b, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(b)) {
		switch f := strings.Fields(line + " 0"); f[0] {
		case "Slab:", "KernelStack:", "PageTables:":
			n, _ := strconv.ParseFloat(f[1], 64)
			total += n
		}
	}
	return total
}

func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(b), " ")
	return one
}

// pin keeps the goroutine that calls it, and what it starts, on the second CPU, since
// the server has the first.
func pin() {
	runtime.LockOSThread()
	second := [1024 / 64]uint64{1 << 1} // a cpu_set_t
	_, _, _ = syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(second), uintptr(unsafe.Pointer(&second)))
	// Where there is no second CPU the two share the first.
}

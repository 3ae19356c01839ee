package peers

import (
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// socketIO is the directory of the server of Socket.IO, which Node.js runs.
var socketIO = func() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "socketio")
}()

// installSocketIO has npm install what package-lock.json says, if it has not. Its error
// says what is missing.
func installSocketIO() error {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("it needs Node.js with npm: %w", err)
		}
	}
	lock, err := os.Stat(filepath.Join(socketIO, "package-lock.json"))
	if err != nil {
		return err
	}
	// npm writes this file when it is done.
	done, err := os.Stat(filepath.Join(socketIO, "node_modules", ".package-lock.json"))
	if err == nil && !done.ModTime().Before(lock.ModTime()) {
		return nil
	}
	npm := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
	npm.Dir = socketIO
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
}

// serveSocketIO becomes Node.js: the process stays the same, so that its CPU and its
// memory are measured as those of the other targets.
func serveSocketIO() {
	node, err := exec.LookPath("node")
	if err == nil {
		err = syscall.Exec(node, []string{"node", "--expose-gc", filepath.Join(socketIO, "server.mjs")}, os.Environ())
	}
	log.Fatal(err)
}

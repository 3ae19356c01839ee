//go:build unix

package localpg

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// account is whom a server runs as.
type account struct{ *syscall.Credential } // nil: who runs this process

// unprivileged returns another account than root.
func unprivileged() (account, error) {
	if os.Getuid() != 0 {
		return account{}, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return account{}, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return account{&syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, errors.Join(err1, err2)
}

// give makes the account the owner of a directory.
func (a account) give(dir string) error {
	if a.Credential == nil {
		return nil
	}
	return os.Chown(dir, int(a.Uid), int(a.Gid))
}

// run has a command run as the account.
func (a account) run(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.Credential} }

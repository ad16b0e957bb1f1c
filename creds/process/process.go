// Package process runs the credential_process of profiles. None of their processes
// outlives the run: each is in a process group of its own, which is ended with its
// Group, and also when it takes too long. The SDK's provider kills the shell alone,
// and waits for ever for a child that holds its output open.
package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"golang.org/x/term"
)

// Group holds the processes that are running. Close ends them.
type Group struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards closed
	closed  bool
	running sync.WaitGroup
}

// NewGroup returns a group without processes.
func NewGroup() *Group {
	g := &Group{}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// Close ends all processes and waits until they have ended. No others start
// afterwards.
func (g *Group) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.cancel()
	g.running.Wait()
}

func (g *Group) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.running.Add(1)
	}
	return !g.closed
}

// Provider returns a provider that runs a command of the shell for each request.
// sources are those that it reports.
func (g *Group) Provider(command string, sources []aws.CredentialSource) aws.CredentialsProvider {
	return &provider{group: g, command: command, sources: sources}
}

type provider struct {
	group   *Group
	command string
	sources []aws.CredentialSource
}

// ProviderSources returns the sources that the provider was made with.
func (p *provider) ProviderSources() []aws.CredentialSource { return p.sources }

var errClosed = errors.New("credential_process: the run ends")

// Retrieve runs the command. The SDK's cache calls it with a context that never ends.
func (p *provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if !p.group.enter() {
		return aws.Credentials{}, errClosed
	}
	defer p.group.running.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.group.ctx, cancel)()
	r := &process{command: p.command}
	keys, err := processcreds.NewProviderCommand(r).Retrieve(ctx)
	if err != nil {
		r.killGroup()
	}
	return keys, err
}

// endAfter is the time between SIGTERM and SIGKILL.
const endAfter = 2 * time.Second

// process is one run of a command.
type process struct {
	command string
	cmd     *exec.Cmd
}

// NewCommand returns the command as the SDK makes it, in a process group of its own.
// At a terminal it stays in the group of the run, since it may ask for an MFA code
// there; an interrupt from the keyboard reaches that whole group. Its messages are for a
// person at a terminal, too.
func (r *process) NewCommand(ctx context.Context) (*exec.Cmd, error) {
	cmd, err := processcreds.DefaultNewCommandBuilder{Args: []string{r.command}}.NewCommand(ctx)
	if err != nil {
		return nil, err
	}
	cmd.WaitDelay = endAfter
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		cmd.Stderr = nil // it may print secrets, which would get into the log of an unattended run
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	}
	r.cmd = cmd
	return cmd, nil
}

// killGroup ends the rest of the group of a command that has failed. An error
// means that nothing is left.
func (r *process) killGroup() {
	if r.cmd != nil && r.cmd.Process != nil && r.cmd.SysProcAttr != nil {
		_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	}
}

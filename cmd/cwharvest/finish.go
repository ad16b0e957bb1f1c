package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cwharvest/pipeline/config"
	"cwharvest/store/record"
)

// summary is what on_finish is told: the status as `status --json` prints it,
// and how the run ended.
type summary struct {
	*record.Status
	Exit     int    `json:"exit"`
	ExitText string `json:"exit_text"`
	LastLine string `json:"last_line"`
}

const (
	webhookTries     = 3
	webhookFirstWait = 500 * time.Millisecond // doubles
	mostHeard        = 2 << 10                // of what a command says
	killedAfter      = time.Second            // for pipes that a killed command's children hold
)

// tell runs the hooks, one after the other, each within its deadline: also
// after an interrupt. What fails is a warning and changes nothing.
func tell(ctx context.Context, hooks []config.Hook, told *summary, log *slog.Logger) {
	if len(hooks) == 0 || told.Status == nil {
		return
	}
	data, err := json.Marshal(told)
	if err != nil {
		log.Warn("on_finish: nobody is told", "error", err)
		return
	}
	for i := range hooks {
		h := &hooks[i]
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.Timeout)
		what, act := "command", runCommand
		if h.Webhook != "" {
			what, act = "webhook", post
		}
		if err := act(ctx, h, told.Exit, data); err != nil {
			if ctx.Err() != nil {
				err = fmt.Errorf("not through within %v: %w", h.Timeout, err)
			}
			log.Warn("on_finish failed; the run's result stands", "hook", what, "error", err)
		}
		cancel()
	}
}

// runCommand runs a command in a process group of its own, so that an
// interrupt from the terminal spares it and its deadline ends all of it.
func runCommand(ctx context.Context, h *config.Hook, exit int, data []byte) error {
	c := exec.CommandContext(ctx, h.Command[0], h.Command[1:]...)
	c.Env = append(os.Environ(), "CWHARVEST_EXIT="+strconv.Itoa(exit))
	c.Stdin = bytes.NewReader(data)
	var heard head
	c.Stdout, c.Stderr = &heard, &heard
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = killedAfter
	err := c.Run()
	if errors.Is(err, syscall.EPIPE) { // it need not read what it is told
		err = nil
	}
	if text := strings.TrimSpace(string(heard)); err != nil && text != "" {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// head keeps the first bytes written to it and takes the rest.
type head []byte

func (h *head) Write(p []byte) (int, error) {
	*h = append(*h, p[:min(len(p), mostHeard-len(*h))]...)
	return len(p), nil
}

// post sends the summary, up to three times within the deadline.
func post(ctx context.Context, h *config.Hook, _ int, data []byte) error {
	// A redirect would tell its target the address, which may be a secret, as the
	// referrer, and what happened.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	wait := webhookFirstWait
	for try := 1; ; try, wait = try+1, 2*wait {
		again, err := postOnce(ctx, client, h.Webhook, data)
		if err == nil || !again || try == webhookTries {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// postOnce reports whether another try may help. Its errors do not show the
// address, which may be a secret, nor what the server says, which may hold it.
func postOnce(ctx context.Context, client *http.Client, address string, data []byte) (again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(data))
	if err != nil {
		return false, errors.New("the address is malformed")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "cwharvest/"+version)
	answer, err := client.Do(r)
	if err != nil {
		return ctx.Err() == nil, withoutAddress(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode < 300 {
		return false, nil
	}
	err = fmt.Errorf("status %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	if answer.StatusCode < 400 {
		return false, fmt.Errorf("%w: redirects are not followed", err)
	}
	again = answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusRequestTimeout
	return again, err
}

// withoutAddress drops what net/http puts before an error.
func withoutAddress(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// exitText is the exit code in words.
func exitText(code int) string {
	switch code {
	case exitComplete:
		return "complete"
	case exitFatal:
		return "fatal error"
	case exitUsage:
		return "usage or configuration"
	case exitIncomplete:
		return "finished, with failed or denied instances or targets"
	case exitCredentials:
		return "credentials need a person; resumable"
	case exitBudget:
		return "stopped by a budget; resumable"
	case exitPlanDiffers:
		return "the plan differs from that of the open job"
	}
	if code > exitSignal {
		return "interrupted; resumable"
	}
	return "exit " + strconv.Itoa(code)
}

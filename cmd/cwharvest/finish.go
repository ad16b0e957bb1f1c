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

// summary is the input of on_finish: the status as `status --json` prints it, and how the run ended.
type summary struct {
	*record.Status
	Exit     int    `json:"exit"`
	ExitText string `json:"exit_text"`
	LastLine string `json:"last_line"`
}

// newSummary returns nil if no job was worked. The last line of a job that failed before its pipeline is the error.
func newSummary(last *record.Status, lines map[string]string, err error, by choice) *summary {
	if last == nil {
		return nil
	}
	s := &summary{Status: last, Exit: exitCode(err), LastLine: lines[last.Job]}
	s.ExitText = exitText(s.Exit)
	if s.LastLine == "" {
		_, s.LastLine = verdictOf(err, by)
	}
	return s
}

const (
	webhookTries     = 3
	webhookFirstWait = 500 * time.Millisecond // doubles
	mostOutput       = 2 << 10                // bytes of a command's output in an error
	killedAfter      = time.Second            // how long to wait for pipes that children of a killed command hold
)

// runHooks runs one hook after the other, each within its deadline, also after an interrupt. A hook that fails causes a
// warning and does not change the result of the run.
func runHooks(ctx context.Context, hooks []config.Hook, result *summary, log *slog.Logger) {
	if result == nil {
		return
	}
	data, err := json.Marshal(result)
	if err != nil {
		log.Warn("on_finish is not called", "error", err)
		return
	}
	for i := range hooks {
		h := &hooks[i]
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.Timeout)
		kind, act := "command", runCommand
		if h.Webhook != "" {
			kind, act = "webhook", post
		}
		if err := act(ctx, h, result.Exit, data); err != nil {
			if ctx.Err() != nil {
				err = fmt.Errorf("not finished within %v: %w", h.Timeout, err)
			}
			log.Warn("on_finish failed; the run's result stands", "hook", kind, "error", err)
		}
		cancel()
	}
}

// runCommand runs a command in its own process group: an interrupt from the terminal does not reach it, and its deadline
// kills the whole group.
func runCommand(ctx context.Context, h *config.Hook, exit int, data []byte) error {
	c := exec.CommandContext(ctx, h.Command[0], h.Command[1:]...)
	c.Env = append(os.Environ(), "CWHARVEST_EXIT="+strconv.Itoa(exit))
	c.Stdin = bytes.NewReader(data)
	var output head
	c.Stdout, c.Stderr = &output, &output
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = killedAfter
	err := c.Run()
	if errors.Is(err, syscall.EPIPE) { // the command need not read its input
		err = nil
	}
	if text := strings.TrimSpace(string(output)); err != nil && text != "" {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// head keeps the first bytes written to it and discards the rest.
type head []byte

func (h *head) Write(p []byte) (int, error) {
	*h = append(*h, p[:min(len(p), mostOutput-len(*h))]...)
	return len(p), nil
}

// post sends the summary, up to three times within the deadline.
func post(ctx context.Context, h *config.Hook, _ int, data []byte) error {
	// A redirect would send its target the summary, and the address, which may be a secret, as the referrer.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	wait := webhookFirstWait
	for try := 1; ; try, wait = try+1, 2*wait {
		retry, err := postOnce(ctx, client, h.Webhook, data)
		if err == nil || !retry || try == webhookTries {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// postOnce reports whether a retry may help. Its errors show neither the address, which may be a secret, nor the
// response, which may contain the address.
func postOnce(ctx context.Context, client *http.Client, address string, data []byte) (retry bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(data))
	if err != nil {
		return false, errors.New("the address is malformed")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "cwharvest/"+version)
	response, err := client.Do(r)
	if err != nil {
		return ctx.Err() == nil, withoutAddress(err)
	}
	defer response.Body.Close()
	if response.StatusCode < 300 {
		return false, nil
	}
	err = fmt.Errorf("status %d %s", response.StatusCode, http.StatusText(response.StatusCode))
	if response.StatusCode < 400 {
		return false, fmt.Errorf("%w: redirects are not followed", err)
	}
	retry = response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusRequestTimeout
	return retry, err
}

// withoutAddress drops the method and the address that net/http puts before an error.
func withoutAddress(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// exitText returns the meaning of an exit code.
func exitText(code int) string {
	if code == exitComplete {
		return "complete" // the hooks do not run if nothing was due
	}
	for _, e := range exitTable {
		if e.code == code {
			return e.meaning
		}
	}
	return "exit " + strconv.Itoa(code)
}

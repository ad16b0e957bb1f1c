package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Hook is a notification at the end of a run: a command to start or a webhook to
// call. It is stopped after Timeout.
type Hook struct {
	Command []string
	Webhook string // https, or http to loopback; may contain a secret, so it is never printed
	Timeout time.Duration

	path string // of the setting, for errors
}

// Timeouts of hooks: the defaults and the largest possible one. A service
// manager has to wait for hooks after an interrupt.
const (
	commandTimeout = time.Minute
	webhookTimeout = 10 * time.Second
	maxTimeout     = time.Hour
)

var hookKeys = []string{"command", "webhook", "timeout"}

// fillOnFinish reads a command line, a mapping, or a list of these.
func (c *Config) fillOnFinish(doc *any) error {
	const path = "$.on_finish"
	all, isList := (*doc).([]any)
	if !isList {
		if *doc == nil {
			return nil
		}
		return c.addHook(*doc, path)
	}
	var errs error
	for i, one := range all {
		errs = errors.Join(errs, c.addHook(one, fmt.Sprintf("%s[%d]", path, i)))
	}
	return errs
}

func (c *Config) addHook(v any, path string) error {
	h := Hook{path: path}
	var err error
	switch v := v.(type) {
	case string:
		h.Command, h.Timeout = shellCommand(v), commandTimeout
	case map[string]any:
		err = c.readHook(&h, v)
	default:
		err = c.errorAt(path, "on_finish has the wrong type").
			withHint("write a command line, {command: [...], timeout: 1m} or {webhook: https://..., timeout: 10s}")
	}
	if err == nil {
		c.OnFinish = append(c.OnFinish, h)
	}
	return err
}

func shellCommand(line string) []string {
	if strings.TrimSpace(line) == "" {
		return nil
	}
	return []string{"sh", "-c", line}
}

func (c *Config) readHook(h *Hook, from map[string]any) (errs error) {
	for key := range from {
		if !slices.Contains(hookKeys, key) {
			return c.errorAt(h.path+"."+key, "unknown key %q%s in on_finish", key, didYouMean(key, hookKeys)).
				withHint("write command or webhook, and timeout")
		}
	}
	switch command := from["command"].(type) {
	case nil:
	case string:
		h.Command = shellCommand(command)
	case []any:
		for _, word := range command {
			h.Command = append(h.Command, fmt.Sprint(word))
		}
	default:
		return c.errorAt(h.path+".command", "command has the wrong type").
			withHint("write a list of words, such as [sh, -c, \"mail -s night ops\"], or one string for sh")
	}
	if from["webhook"] != nil {
		h.Webhook = fmt.Sprint(from["webhook"])
	}
	h.Timeout = commandTimeout
	if h.Webhook != "" {
		h.Timeout = webhookTimeout
	}
	if from["timeout"] == nil {
		return nil
	}
	text := fmt.Sprint(from["timeout"])
	return c.duration(&h.Timeout, h.path+".timeout", &text)
}

func (c *Config) checkOnFinish() (errs error) {
	add := func(err error) { errs = errors.Join(errs, err) }
	for i := range c.OnFinish {
		h := &c.OnFinish[i]
		switch hasCommand := len(h.Command) > 0 && h.Command[0] != ""; {
		case hasCommand == (h.Webhook != ""):
			add(c.errorAt(h.path, "on_finish needs either a command or a webhook").withHint("write one of them"))
		case h.Webhook != "":
			if problem, hint := checkWebhook(h.Webhook); problem != "" {
				add(c.errorAt(h.path+".webhook", "webhook: %s", problem).withHint("%s", hint))
			}
		}
		if h.Timeout <= 0 || h.Timeout > maxTimeout {
			add(c.errorAt(h.path+".timeout", "timeout %s is out of range", formatDuration(h.Timeout)).
				withHint("write more than 0 and at most 1h"))
		}
	}
	return errs
}

// checkWebhook returns the problem with an address, or "". Neither result
// contains the address, because addresses of webhooks are secrets.
func checkWebhook(address string) (problem, hint string) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "the address is malformed", "write https://host/path"
	}
	ip := net.ParseIP(u.Hostname())
	loopback := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback) {
		return fmt.Sprintf("scheme %q is not allowed", u.Scheme), "use https, or http to loopback"
	}
	return "", ""
}

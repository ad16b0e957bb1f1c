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

// Hook tells somebody how a run ended: a command or a webhook, which has to be
// through within Timeout.
type Hook struct {
	Command []string
	Webhook string // https, or http to loopback; may hold a secret: never shown
	Timeout time.Duration

	path string // in the file
}

// How long hooks may take unless the file says so, and at most: a service
// manager waits for them after an interrupt.
const (
	commandTimeout = time.Minute
	webhookTimeout = 10 * time.Second
	maxTimeout     = time.Hour
)

var hookKeys = []string{"command", "webhook", "timeout"}

// fillOnFinish reads a command line, a mapping, or a list of these.
func (c *Config) fillOnFinish(v any) error {
	const path = "$.on_finish"
	all, isList := v.([]any)
	if !isList {
		if v == nil {
			return nil
		}
		return c.addHook(v, path)
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
		err = c.errorAt(path, "on_finish must be a command line, {command: [...], timeout: 1m} or {webhook: https://..., timeout: 10s}")
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
			return c.errorAt(h.path+"."+key, "unknown key %q%s: on_finish takes command or webhook, and timeout", key, didYouMean(key, hookKeys))
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
		return c.errorAt(h.path+".command", "command must be a list of words, such as [sh, -c, \"mail -s night ops\"], or one string for sh")
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
			add(c.errorAt(h.path, "on_finish needs either a command or a webhook"))
		case h.Webhook != "":
			if problem := CheckWebhook(h.Webhook); problem != "" {
				add(c.errorAt(h.path+".webhook", "webhook: %s", problem))
			}
		}
		if h.Timeout <= 0 || h.Timeout > maxTimeout {
			add(c.errorAt(h.path+".timeout", "timeout %s is out of range: above 0 to 1h", formatDuration(h.Timeout)))
		}
	}
	return errs
}

// CheckWebhook says what is wrong with an address, "" when nothing is. It does
// not show it, since addresses of webhooks are secrets.
func CheckWebhook(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "the address is malformed: write https://host/path"
	}
	ip := net.ParseIP(u.Hostname())
	loopback := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback) {
		return "only https is allowed, and plain http to loopback"
	}
	return ""
}

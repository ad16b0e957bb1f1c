// Command browser opens a run's page in a real Chromium: browser PROGRAM URL
// SCREENSHOTS TROUBLE. It fails when the numbers shown do not become those of
// status.json, when no line of the troubles begins as told, when the console tells of an error, or when the page asks
// anything of another origin. It is a module of its own, so that the program
// does not depend on a browser's protocol.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: browser PROGRAM URL SCREENSHOTS TROUBLE")
	}
	if err := look(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		log.Fatal(err)
	}
}

// complaints are what the page did and should not.
type complaints struct {
	mu  sync.Mutex
	all []string
}

func (c *complaints) add(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, fmt.Sprintf(format, args...))
}

func look(program, url, screenshots, trouble string) error {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox)
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	defer stop()
	ctx, stop = chromedp.NewContext(ctx)
	defer stop()
	ctx, stop = context.WithTimeout(ctx, time.Minute)
	defer stop()
	var found complaints
	chromedp.ListenTarget(ctx, found.listen(url))
	if err := chromedp.Run(ctx, network.Enable(), cdplog.Enable(), chromedp.Navigate(url)); err != nil {
		return fmt.Errorf("open %s: %w", url, err)
	}
	if err := agree(ctx, url); err != nil {
		return err
	}
	time.Sleep(8 * time.Second) // for a chart
	if err := tells(ctx, trouble); err != nil {
		return err
	}
	for _, shot := range []struct {
		name, scheme  string
		width, height int64
	}{{"phone", "dark", 390, 844}, {"desktop", "light", 1280, 800}} {
		if err := shoot(ctx, filepath.Join(screenshots, shot.name+".png"), shot.scheme, shot.width, shot.height); err != nil {
			return err
		}
	}
	found.mu.Lock()
	defer found.mu.Unlock()
	if len(found.all) > 0 {
		return fmt.Errorf("the page: %s", strings.Join(found.all, "; "))
	}
	return nil
}

func (c *complaints) listen(url string) func(any) {
	return func(event any) {
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			if to := e.Request.URL; !strings.HasPrefix(to, url) && !strings.HasPrefix(to, "data:") {
				c.add("asks %s", to)
			}
		case *runtime.EventExceptionThrown:
			c.add("throws %s", e.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.APITypeError {
				c.add("console error")
			}
		case *cdplog.EventEntryAdded:
			if e.Entry.Level == cdplog.LevelError {
				c.add("console: %s %s", e.Entry.Text, e.Entry.URL)
			}
		}
	}
}

// agree waits until what is shown is what status.json says of the same moment.
func agree(ctx context.Context, url string) error {
	var shown, want string
	for range 100 {
		var s struct {
			Transaction int
			Rows        int64
			Instances   struct{ Planned int64 }
		}
		if err := fetch(url+"status.json", &s); err != nil {
			return err
		}
		want = fmt.Sprint(s.Transaction, " ", s.Rows, " ", s.Instances.Planned)
		const read = `(() => { const n = id => (document.querySelector("#figure-" + id + " dd") || {textContent: ""}).textContent.replaceAll(",", "");
			return document.body.dataset.transaction + " " + n("rows") + " " + n("instances") })()`
		if err := chromedp.Run(ctx, chromedp.Evaluate(read, &shown)); err != nil {
			return err
		}
		if shown == want {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("shown are %q (transaction, rows, instances), not %q", shown, want)
}

// tells looks for a line of the troubles that begins with a text.
func tells(ctx context.Context, begin string) error {
	var lines []string
	if err := chromedp.Run(ctx, chromedp.Evaluate(`[...document.querySelectorAll("#troubles li")].map(li => li.textContent)`, &lines)); err != nil {
		return err
	}
	if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, begin) }) {
		return fmt.Errorf("no trouble begins with %q: %q", begin, lines)
	}
	return nil
}

func fetch(url string, into any) error {
	answer, err := http.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return json.NewDecoder(answer.Body).Decode(into)
}

func shoot(ctx context.Context, path, scheme string, width, height int64) error {
	var image []byte
	var wide bool
	err := chromedp.Run(ctx, chromedp.EmulateViewport(width, height),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
		chromedp.Sleep(2500*time.Millisecond),
		chromedp.Evaluate("document.documentElement.scrollWidth > innerWidth", &wide),
		chromedp.FullScreenshot(&image, 100))
	if err != nil {
		return err
	}
	if wide {
		return fmt.Errorf("at %d pixels the page scrolls sideways", width)
	}
	return os.WriteFile(path, image, 0o600)
}

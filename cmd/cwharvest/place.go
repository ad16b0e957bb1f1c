package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"cwharvest/creds"
	"cwharvest/pipeline/config"
	"cwharvest/store/claim"
	"cwharvest/store/durable"
	"cwharvest/store/place"
	"cwharvest/store/record"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/spf13/cobra"
)

const defaultDir = "./harvest"

// remotes returns a function that opens output places in S3. They use the same credential manager as all other calls, so
// that an upload survives the end of a session.
func remotes(ctx context.Context, m *creds.Manager, access config.S3) func(string, string, *durable.Files) (place.Place, error) {
	return func(out, temporary string, files *durable.Files) (place.Place, error) {
		bucket, prefix, ok, err := place.ParseS3(out)
		switch {
		case err != nil:
			return nil, usageError{error: fmt.Errorf("out: %w", err)}
		case !ok:
			return nil, usageError{fmt.Errorf("out %q is not a supported location", out), "write a directory or s3://bucket/prefix"}
		}
		client, err := s3Client(ctx, m, access)
		if err != nil {
			return nil, err
		}
		return place.NewS3(client, bucket, prefix, temporary, files), nil
	}
}

func s3Client(ctx context.Context, m *creds.Manager, access config.S3) (*s3.Client, error) {
	cfg, err := m.Config(ctx, access.Region, creds.Source{
		Profile: access.Profile, RoleARN: access.RoleARN, ExternalID: access.ExternalID,
	})
	if err != nil {
		return nil, err
	}
	if cfg.Region == "" {
		return nil, usageError{error: errors.New("no region for S3"), hint: "give s3: {region: ...} in the file, or AWS_REGION"}
	}
	return s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = o.BaseEndpoint != nil // other services than AWS seldom resolve a name for each bucket
	}), nil
}

// finder finds the harvest directory of a command that works with an existing harvest, and the access to its output.
type finder struct {
	file               string
	noConfig, insecure bool
	patience           time.Duration
	settings           *config.Config // of the file, once it is read
}

func (f *finder) register(c *cobra.Command) {
	c.Flags().StringVarP(&f.file, "config", "c", "", "configuration file that names the harvest directory (default ./harvest.yaml)")
	c.Flags().BoolVar(&f.noConfig, "no-config", false, "ignore harvest.yaml in the current directory")
}

// registerAccess adds the flags of commands that read the output.
func (f *finder) registerAccess(c *cobra.Command) {
	f.register(c)
	durationVar(c.Flags(), &f.patience, "wait-for-output", 2*time.Minute, "how long to try again when output in S3 cannot be reached, before exit 6")
	c.Flags().BoolVar(&f.insecure, "insecure-endpoint", false, "allow plain http to other machines, where others may read signatures and data")
}

// dir returns the harvest directory: the one in args, otherwise CWHARVEST_DIR, then dir of the configuration file, then ./harvest.
func (f *finder) dir(c *cobra.Command, args []string) (string, error) {
	if err := f.readVariables(c); err != nil {
		return "", err
	}
	if len(args) > 0 {
		return harvestAbove(args[0]), nil
	}
	file, err := configFile(f.file, f.noConfig, c.ErrOrStderr())
	if err != nil {
		return "", err
	}
	dir := defaultDir
	if file != "" {
		s, err := config.ReadFile(file)
		if err != nil {
			return "", err
		}
		f.settings, dir = &s, s.Dir
	}
	return cmp.Or(os.Getenv(config.VariableOf("dir")), dir), nil
}

// readVariables sets the flags that the environment sets and the command line does not.
func (f *finder) readVariables(c *cobra.Command) error {
	for _, name := range []string{"config", "no-config", "insecure-endpoint"} {
		flag, value := c.Flags().Lookup(name), os.Getenv(config.VariableOf(name))
		overridden := name == "config" && c.Flags().Changed("no-config") || name == "no-config" && c.Flags().Changed("config")
		if flag == nil || flag.Changed || overridden || value == "" {
			continue
		}
		if err := flag.Value.Set(value); err != nil {
			return usageError{error: fmt.Errorf("%s=%q is not possible: it takes true or false", config.VariableOf(name), value)}
		}
	}
	if c.Flags().Changed("config") && c.Flags().Changed("no-config") {
		return usageError{error: errors.New("--config and --no-config exclude each other")}
	}
	return nil
}

// configFile returns the configuration file of a command: the given one, otherwise harvest.yaml in the current directory if it is
// there, otherwise "". It says on w that it found one.
func configFile(given string, ignore bool, w io.Writer) (string, error) {
	switch info, err := os.Stat(initialName); {
	case ignore:
		return "", nil
	case given != "":
		return given, nil
	case errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular():
		return "", nil
	case err != nil:
		return "", usageError{fmt.Errorf("cannot read configuration: %w", err), "name the file with -c, or ignore it with --no-config"}
	}
	fmt.Fprintf(w, "cwharvest: using %s of the current directory; --no-config ignores it\n", initialName)
	return initialName, nil
}

// harvestAbove returns the harvest directory of a path: itself, or the directory above if only that one has jobs.
func harvestAbove(dir string) string {
	above := filepath.Join(dir, "..")
	if info, err := os.Stat(dir); err == nil && info.IsDir() && record.CheckExists(dir) != nil && record.CheckExists(above) == nil {
		return above
	}
	return dir
}

// run returns the command that continues the harvest, or "" if its configuration is unknown. It is called after remote.
func (f *finder) run(c *cobra.Command) string {
	by := choiceOf(c)
	switch {
	case f.file != "" && !f.noConfig:
		return by.run(by.dir)
	case f.settings != nil: // of ./harvest.yaml, which names the directory
		return by.run("")
	}
	return ""
}

// remote returns a function that opens output places in S3, and one that releases its resources. Access is that of the
// configuration file, or of ./harvest.yaml if its dir is this one.
func (f *finder) remote(c *cobra.Command, dir string) (record.Remote, func(), error) {
	s := f.settings
	switch {
	case s != nil:
	case f.file != "" && !f.noConfig:
		read, err := config.ReadFile(f.file)
		if err != nil {
			return nil, nil, err
		}
		s = &read
	default:
		if s = f.accessOf(c, dir); s == nil {
			s = new(config.Default())
			break
		}
		f.settings = s
	}
	m := creds.NewManager(creds.Config{Insecure: f.insecure || s.InsecureEndpoint, Log: slog.New(slog.DiscardHandler)})
	open := remotes(c.Context(), m, s.S3)
	return func(out, temporary string, files *durable.Files) (place.Place, error) {
		at, err := open(out, temporary, files)
		if err != nil {
			return nil, err
		}
		return place.Patient(at, f.patience), nil
	}, m.Close, nil
}

// accessOf returns the settings of ./harvest.yaml if it describes dir, and otherwise nil.
func (f *finder) accessOf(c *cobra.Command, dir string) *config.Config {
	if file, err := configFile("", f.noConfig, io.Discard); file == "" || err != nil {
		return nil
	}
	s, err := config.ReadFile(initialName)
	if err != nil {
		fmt.Fprintf(c.ErrOrStderr(), "cwharvest: warning: %s is not used for access to the output: %v\n", initialName, err)
		return nil
	}
	its, itsErr := os.Stat(s.Dir)
	this, thisErr := os.Stat(dir)
	if errors.Join(itsErr, thisErr) != nil || !os.SameFile(its, this) {
		return nil
	}
	return &s
}

// checkPresent returns an error unless the output of jobs of a harvest directory is there.
func (f *finder) checkPresent(c *cobra.Command, dir string, jobs []record.JobInfo) error {
	remote, closeIt, err := f.remote(c, dir)
	if err != nil {
		return err
	}
	defer closeIt()
	d, err := record.OpenDir(dir, remote)
	if err != nil {
		return err
	}
	jobs = slices.Clone(jobs)
	for i := range jobs {
		jobs[i].Plan.Out = record.ResolveOut(dir, jobs[i].Plan.Out)
	}
	return claim.CheckAllPresent(c.Context(), d, jobs)
}

package accounts

import (
	"errors"
	"fmt"
	"os"

	"cwharvest/pipeline/config"
)

// Members are the accounts that an entry of the configuration stands for, by the entry's index.
type Members map[int][]config.Account

// ReadFiles reads the account files of a configuration and reports all that cannot be read.
func ReadFiles(c *config.Config) (Members, error) {
	members := Members{}
	var errs []error
	for i := range c.Accounts {
		if path := c.Accounts[i].File; path != "" {
			var err error
			members[i], err = readFile(path)
			errs = append(errs, err)
		}
	}
	return members, errors.Join(errs...)
}

// readFile reads one CSV file; see config.ReadAccounts for its form.
func readFile(path string) ([]config.Account, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, &InputError{Err: fmt.Errorf("cannot read accounts: %w", err)}
	}
	defer file.Close()
	return config.ReadAccounts(path, file)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"cwharvest/creds"
	"cwharvest/pipeline/config"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/organizations/types"
)

// organization lists the active accounts of an organization, or of those below
// some of its units.
func (r *runner) organization(ctx context.Context, o *config.Organization) (members []config.Account, err error) {
	err = r.persist(ctx, "organization unknown", func() error {
		// Organizations is one endpoint for all regions of the partition.
		cfg, err := r.creds.Config(ctx, "us-east-1", creds.Source{Profile: o.Profile})
		if err != nil {
			return err
		}
		members, err = listOrganization(ctx, organizations.NewFromConfig(cfg), o)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the organization's accounts: %w", err)
	}
	r.log.Info("organization", "active accounts", len(members))
	return members, nil
}

func listOrganization(ctx context.Context, client *organizations.Client, o *config.Organization) ([]config.Account, error) {
	l := orgList{client: client, seen: map[string]bool{}}
	for _, id := range o.Exclude {
		l.seen[id] = true
	}
	if len(o.OUs) == 0 {
		err := l.all(ctx)
		return l.accounts, err
	}
	for _, parent := range o.OUs {
		if err := l.below(ctx, parent); err != nil {
			return nil, fmt.Errorf("%s: %w", parent, err)
		}
	}
	return l.accounts, nil
}

// orgList gathers accounts, each once.
type orgList struct {
	client   *organizations.Client
	seen     map[string]bool // accounts and units
	accounts []config.Account
}

var accountID = regexp.MustCompile(`^\d{12}$`)

// add refuses an account without an id that is one: it would stand for the
// caller's own.
func (l *orgList) add(accounts []types.Account) error {
	for _, a := range accounts {
		id := aws.ToString(a.Id)
		if !accountID.MatchString(id) {
			return fmt.Errorf("answer holds an account %.40q", id)
		}
		if active := a.State == types.AccountStateActive || a.State == "" && a.Status == types.AccountStatusActive; active && !l.seen[id] {
			l.seen[id] = true
			l.accounts = append(l.accounts, config.Account{ID: id})
		}
	}
	return nil
}

// mostPages is more than an organization's accounts have, one a page.
const mostPages = 100_000

// pages takes page after page. One that names itself as the next would come for
// ever.
func pages(next func(token *string) (*string, error)) error {
	for token, n := (*string)(nil), 1; ; n++ {
		following, err := next(token)
		switch {
		case err != nil || aws.ToString(following) == "":
			return err
		case aws.ToString(following) == aws.ToString(token):
			return errors.New("an answer names the page it is as the next one")
		case n == mostPages:
			return fmt.Errorf("the answer has more than %d pages", mostPages)
		}
		token = following
	}
}

func (l *orgList) all(ctx context.Context) error {
	return pages(func(token *string) (*string, error) {
		page, err := l.client.ListAccounts(ctx, &organizations.ListAccountsInput{NextToken: token})
		if err != nil {
			return nil, err
		}
		return page.NextToken, l.add(page.Accounts)
	})
}

// below walks a unit and the units in it, each once.
func (l *orgList) below(ctx context.Context, parent string) error {
	if l.seen[parent] {
		return nil
	}
	l.seen[parent] = true
	err := pages(func(token *string) (*string, error) {
		page, err := l.client.ListAccountsForParent(ctx, &organizations.ListAccountsForParentInput{ParentId: &parent, NextToken: token})
		if err != nil {
			return nil, err
		}
		return page.NextToken, l.add(page.Accounts)
	})
	if err != nil {
		return err
	}
	return pages(func(token *string) (*string, error) {
		page, err := l.client.ListOrganizationalUnitsForParent(ctx, &organizations.ListOrganizationalUnitsForParentInput{ParentId: &parent, NextToken: token})
		if err != nil {
			return nil, err
		}
		for _, u := range page.OrganizationalUnits {
			if err := l.below(ctx, aws.ToString(u.Id)); err != nil {
				return nil, err
			}
		}
		return page.NextToken, nil
	})
}

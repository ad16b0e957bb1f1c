package main

import (
	"context"
	"fmt"

	"cwharvest/creds"
	"cwharvest/pipeline/spec"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/organizations/types"
)

// organization lists the active accounts of an organization, or of those below
// some of its units.
func (r *runner) organization(ctx context.Context, o *spec.Organization) (members []spec.Account, err error) {
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

func listOrganization(ctx context.Context, client *organizations.Client, o *spec.Organization) ([]spec.Account, error) {
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
	seen     map[string]bool
	accounts []spec.Account
}

func (l *orgList) add(accounts []types.Account) {
	for _, a := range accounts {
		id := aws.ToString(a.Id)
		if active := a.State == types.AccountStateActive || a.State == "" && a.Status == types.AccountStatusActive; active && !l.seen[id] {
			l.seen[id] = true
			l.accounts = append(l.accounts, spec.Account{ID: id})
		}
	}
}

func (l *orgList) all(ctx context.Context) error {
	pages := organizations.NewListAccountsPaginator(l.client, nil)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		l.add(page.Accounts)
	}
	return nil
}

// below walks a unit and the units in it.
func (l *orgList) below(ctx context.Context, parent string) error {
	pages := organizations.NewListAccountsForParentPaginator(l.client, &organizations.ListAccountsForParentInput{ParentId: &parent})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		l.add(page.Accounts)
	}
	units := organizations.NewListOrganizationalUnitsForParentPaginator(l.client,
		&organizations.ListOrganizationalUnitsForParentInput{ParentId: &parent})
	for units.HasMorePages() {
		page, err := units.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, u := range page.OrganizationalUnits {
			if err := l.below(ctx, aws.ToString(u.Id)); err != nil {
				return err
			}
		}
	}
	return nil
}

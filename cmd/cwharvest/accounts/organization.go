package accounts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"

	"cwharvest/creds"
	"cwharvest/creds/partition"
	"cwharvest/pipeline/config"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/organizations/types"
)

// organization returns the active accounts of an organization. If they cannot be listed, it returns those of the open
// job, which needs no others.
func (r *Resolver) organization(ctx context.Context, e *config.Account) (members []config.Account, err error) {
	err = r.retryTransient(ctx, "organization unknown", func() error {
		src, err := r.organizationSource(ctx, e)
		if err != nil {
			return err
		}
		cfg, err := r.Manager.Config(ctx, src.Home, src)
		if err != nil {
			return err
		}
		members, err = listOrganization(ctx, organizations.NewFromConfig(cfg), e.Organization)
		return err
	})
	if err == nil {
		r.Log.Info("organization", "active accounts", len(members))
		return members, nil
	}
	err = fmt.Errorf("cannot list the accounts of the organization: %w", err)
	if len(r.OpenJob) == 0 || ctx.Err() != nil {
		return nil, err
	}
	r.Log.Warn("the open job continues with the accounts it has", "error", err)
	members = nil
	for _, id := range r.OpenJob {
		members = append(members, config.Account{ID: id})
	}
	return members, nil
}

// organizationSource returns the source of the calls that list an entry's organization. Organizations has one endpoint for a partition,
// in its first region. The partition is that of the members' regions, else that of the principal's.
func (r *Resolver) organizationSource(ctx context.Context, e *config.Account) (creds.Source, error) {
	src := creds.Source{Profile: e.Organization.Profile}
	own, err := r.Manager.Region(ctx, src)
	members := config.Account{Regions: e.Regions}
	if len(members.Regions) == 0 {
		members.Regions = r.Config.Defaults.Regions
	}
	src.Home = partition.First(cmp.Or(members.Partition(), partition.Of(own)))
	return src, err
}

// listOrganization lists the active accounts of an organization, or of those below some of its units.
func listOrganization(ctx context.Context, client *organizations.Client, o *config.Organization) ([]config.Account, error) {
	l := organizationList{client: client, seen: map[string]bool{}}
	for _, id := range o.Exclude {
		l.seen[id] = true
	}
	if len(o.OUs) == 0 {
		err := l.listAll(ctx)
		return l.accounts, err
	}
	for _, parent := range o.OUs {
		if err := l.listBelow(ctx, parent); err != nil {
			return nil, fmt.Errorf("%s: %w", parent, err)
		}
	}
	return l.accounts, nil
}

// organizationList collects accounts, each once.
type organizationList struct {
	client   *organizations.Client
	seen     map[string]bool // accounts and units
	accounts []config.Account
}

var accountID = regexp.MustCompile(`^\d{12}$`)

// add refuses a malformed account id, because an empty one would stand for the caller's own account.
func (l *organizationList) add(accounts []types.Account) error {
	for _, a := range accounts {
		id := aws.ToString(a.Id)
		if !accountID.MatchString(id) {
			return fmt.Errorf("response has malformed account id %.40q", id)
		}
		if active := a.State == types.AccountStateActive || a.State == "" && a.Status == types.AccountStatusActive; active && !l.seen[id] {
			l.seen[id] = true
			l.accounts = append(l.accounts, config.Account{ID: id})
		}
	}
	return nil
}

// mostPages is more than the largest organization needs with one account a page.
const mostPages = 100_000

// eachPage calls next for page after page. It ends when a page names itself as the next one, which would repeat for ever.
func eachPage(next func(token *string) (*string, error)) error {
	for token, n := (*string)(nil), 1; ; n++ {
		following, err := next(token)
		switch {
		case err != nil || aws.ToString(following) == "":
			return err
		case aws.ToString(following) == aws.ToString(token):
			return errors.New("response names its own page as the next one")
		case n == mostPages:
			return fmt.Errorf("response has more than %d pages", mostPages)
		}
		token = following
	}
}

// listAll lists every account of the organization.
func (l *organizationList) listAll(ctx context.Context) error {
	return eachPage(func(token *string) (*string, error) {
		page, err := l.client.ListAccounts(ctx, &organizations.ListAccountsInput{NextToken: token})
		if err != nil {
			return nil, err
		}
		return page.NextToken, l.add(page.Accounts)
	})
}

// listBelow lists the accounts of a unit and of all units in it, each once.
func (l *organizationList) listBelow(ctx context.Context, parent string) error {
	if l.seen[parent] {
		return nil
	}
	l.seen[parent] = true
	err := eachPage(func(token *string) (*string, error) {
		page, err := l.client.ListAccountsForParent(ctx, &organizations.ListAccountsForParentInput{ParentId: &parent, NextToken: token})
		if err != nil {
			return nil, err
		}
		return page.NextToken, l.add(page.Accounts)
	})
	if err != nil {
		return err
	}
	return eachPage(func(token *string) (*string, error) {
		page, err := l.client.ListOrganizationalUnitsForParent(ctx, &organizations.ListOrganizationalUnitsForParentInput{ParentId: &parent, NextToken: token})
		if err != nil {
			return nil, err
		}
		for _, u := range page.OrganizationalUnits {
			if err := l.listBelow(ctx, aws.ToString(u.Id)); err != nil {
				return nil, err
			}
		}
		return page.NextToken, nil
	})
}

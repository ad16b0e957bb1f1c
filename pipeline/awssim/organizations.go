package awssim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// The simulated organization has three organizational units, one of them nested in
// another. The accounts are distributed over the root and the units, and one more
// account is suspended.
const (
	RootID      = "r-sim0"
	ProdUnit    = "ou-sim0-prod0000"
	NestedUnit  = "ou-sim0-nested00" // in ProdUnit
	DevUnit     = "ou-sim0-dev00000"
	Suspended   = "999988887777"
	orgPageSize = 20 // largest page of ListAccounts (AWS Organizations API Reference)
)

// parentOf returns the parent of account number i.
func parentOf(i int) string { return []string{ProdUnit, NestedUnit, DevUnit, RootID}[i%4] }

var unitsIn = map[string][]string{RootID: {ProdUnit, DevUnit}, ProdUnit: {NestedUnit}, NestedUnit: nil, DevUnit: nil}

// orgRequest is a request of any listing operation.
type orgRequest struct{ NextToken, ParentID string }

func (s *Server) parseOrg(c *call) (r orgRequest, first int, fail *apiError) {
	if c.principal.account != s.cfg.Accounts[0] {
		return r, 0, &apiError{status: 400, code: "AccessDeniedException", message: "You don't have permissions to access this resource."}
	}
	var in struct{ NextToken, ParentId string }
	if err := json.Unmarshal(c.body, &in); err != nil {
		return r, 0, &apiError{status: 400, code: "SerializationException", message: err.Error()}
	}
	r = orgRequest{in.NextToken, in.ParentId}
	if r.NextToken != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(r.NextToken, "o"))
		if err != nil || n < 0 {
			return r, 0, &apiError{status: 400, code: "InvalidInputException", message: "You specified an invalid value."}
		}
		first = n
	}
	return r, first, nil
}

func (s *Server) listAccounts(w http.ResponseWriter, c *call, _ activeFaults) *apiError {
	return s.writeAccounts(w, c, func(int) bool { return true })
}

func (s *Server) listAccountsForParent(w http.ResponseWriter, c *call, _ activeFaults) *apiError {
	r, _, fail := s.parseOrg(c)
	if fail != nil {
		return fail
	}
	if _, known := unitsIn[r.ParentID]; !known {
		return &apiError{status: 400, code: "ParentNotFoundException", message: "You specified parent that doesn't exist."}
	}
	return s.writeAccounts(w, c, func(i int) bool { return parentOf(i) == r.ParentID })
}

// writeAccounts writes a page of the wanted accounts.
func (s *Server) writeAccounts(w http.ResponseWriter, c *call, wanted func(i int) bool) *apiError {
	_, first, fail := s.parseOrg(c)
	if fail != nil {
		return fail
	}
	ids := append(append([]string{}, s.cfg.Accounts...), Suspended)
	page, next := []map[string]string{}, ""
	for i := first; i < len(ids); i++ {
		if len(page) == orgPageSize {
			next = fmt.Sprintf("o%d", i)
			break
		}
		if !wanted(i) {
			continue
		}
		state := "ACTIVE"
		if ids[i] == Suspended {
			state = "SUSPENDED"
		}
		page = append(page, map[string]string{"Id": ids[i], "Name": "account-" + ids[i], "Status": state, "State": state})
	}
	response := map[string]any{"Accounts": page}
	if next != "" {
		response["NextToken"] = next
	}
	writeAWSJSON(w, 200, "1.1", response)
	return nil
}

func (s *Server) listUnits(w http.ResponseWriter, c *call, _ activeFaults) *apiError {
	r, _, fail := s.parseOrg(c)
	if fail != nil {
		return fail
	}
	units := []map[string]string{}
	for _, id := range unitsIn[r.ParentID] {
		units = append(units, map[string]string{"Id": id, "Name": id})
	}
	writeAWSJSON(w, 200, "1.1", map[string]any{"OrganizationalUnits": units})
	return nil
}

package flat

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/schemas"
	"github.com/aws/smithy-go/transport/http/protocol/awsquery"
)

// The largest legal response is decoded by the SDK, and one that would become
// structures without end is refused.
func TestParts(t *testing.T) {
	stamp := "\xc1\xfb\x41\xd9\x55\x55\x55\x55\x55\x55"
	value := "\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00"
	result := "\xa6\x62Id\x64q123\x65Label\x6eCPUUtilization\x6aStatusCode\x68Complete\x68Messages\x81\xa2\x64Code\x61c\x65Value\x61v" +
		"\x6aTimestamps\x9f" + strings.Repeat(stamp, 202) + "\xff\x66Values\x9f" + strings.Repeat(value, 202) + "\xff"
	if n, _ := countCBOR([]byte("\xa1\x71MetricDataResults\x9f" + strings.Repeat(result, 500) + "\xff")); n > maxParts || n < 302_400 {
		t.Errorf("a full page has %d parts", n)
	}
	for _, item := range []string{"\xa0", "\x80", "\xf6", "\x60", "\x00", "\xc1", "\xbf", "\x9f", "\x78\x00", "\x7f"} {
		if n, _ := countCBOR([]byte(strings.Repeat(item, 1<<17))); n != 1<<17 {
			t.Errorf("%q has %d parts", item, n)
		}
	}
	times, values := strings.Repeat("1790000100,", 202), strings.Repeat("12.3456789,", 202)
	textResult := `{"Id":"q123","Label":"CPUUtilization","StatusCode":"Complete","Messages":[{"Code":"c","Value":"v"}],"Timestamps":[` + times + `],"Values":[` + values + `]},`
	xmlResult := "<member><Id>q123</Id><Label>CPUUtilization</Label><StatusCode>Complete</StatusCode><Messages/><Timestamps>" +
		strings.Repeat("<member>2026-11-01T00:00:00Z</member>", 202) + "</Timestamps><Values>" + strings.Repeat("<member>12.3</member>", 202) + "</Values></member>"
	for _, n := range []int{countJSON([]byte(`{"MetricDataResults":[` + strings.Repeat(textResult, 500) + `]}`)), countXML([]byte(strings.Repeat(xmlResult, 500)))} {
		if n > maxParts || n < 201_600 {
			t.Errorf("a full page of text has %d parts", n)
		}
	}
	for _, item := range []string{"{},", "[],", "null,", `"",`, "0,"} {
		if n := countJSON([]byte(strings.Repeat(item, 1<<17))); n < 1<<17 {
			t.Errorf("%q has %d parts", item, n)
		}
	}
	for _, item := range []string{"<a/>", "<a></a>", `"<a>`} {
		if n := countXML([]byte(strings.Repeat(item, 1<<17))); n < 1<<17 {
			t.Errorf("%q has %d parts", item, n)
		}
	}
	dimension := strings.Repeat(",{[", 300)
	inJSON := `{"Metrics":[` + strings.Repeat(`{"Namespace":"N","Dimensions":[{"Name":"a\"","Value":"`+dimension+`\\"},{"Name":"b","Value":"`+dimension+`"}]},`, 500) + `]}`
	inXML := " <Metrics>" + strings.Repeat("<member><Dimensions><Name>a</Name><Value>"+dimension+"</Value></Dimensions></member>", 500) + "</Metrics>"
	if n := countJSON([]byte(inJSON)); n != 500*9+2 {
		t.Errorf("dimensions with separators in JSON: %d parts", n)
	}
	if n := countXML([]byte(inXML)); n != 500*4+1 {
		t.Errorf("dimensions with separators in XML: %d parts", n)
	}
	for _, broken := range []string{"", `"`, `"\`, `{"a`, "<", " "} {
		countJSON([]byte(broken)) // ends
	}
	for _, broken := range []string{"", "\x7b\xff\xff\xff\xff\xff\xff\xff\xff", "\x1b\x00", "\x5f", "\xff"} {
		countCBOR([]byte(broken)) // ends
	}
}

// A body of too many elements is refused in the query protocol whatever it begins
// with: the SDK finds elements behind other text.
func TestPartsBehindOtherText(t *testing.T) {
	query := protocol{awsquery.New(schemas.GraniteServiceVersion20100801)}
	for _, start := range []string{"", " ", "x", `"`, "{"} {
		if err := query.check([]byte(start + strings.Repeat("<a/>", maxParts+1))); !errors.Is(err, errParts) {
			t.Errorf("after %q: %v", start, err)
		}
	}
}

package awssim

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
)

// The handlers of CloudWatch read and write CBOR, the fastest of its three
// protocols. This file translates requests and responses of the other two, AWS JSON
// 1.0 and Query.

// codecOf returns the protocol of a request.
func codecOf(c *call) codec {
	switch {
	case c.service == "ec2":
		return ec2Codec{}
	case c.Header.Get("Smithy-Protocol") == "rpc-v2-cbor":
		return cborCodec{}
	case c.Header.Get("X-Amz-Target") != "":
		version := strings.TrimPrefix(c.Header.Get("Content-Type"), "application/x-amz-json-")
		return jsonCodec{version, c.Header.Get("X-Amzn-Query-Mode") == "true"}
	}
	return xmlCodec{}
}

// operationOf returns the operation of a request, which depends on the protocol: it
// is in the path, in a header, or in the form. It stores the form in the call.
func operationOf(c *call) string {
	if _, operation, found := strings.Cut(c.URL.Path, "/operation/"); found {
		return operation
	}
	if _, operation, found := strings.Cut(c.Header.Get("X-Amz-Target"), "."); found {
		return operation
	}
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return ""
	}
	c.form = form
	return form.Get("Action")
}

// fields decodes a request of CloudWatch.
func (c *call) fields() (fields, *apiError) {
	var v cbor.Value
	var err error
	switch c.codec.(type) {
	case cborCodec:
		v, err = cbor.Decode(c.body)
	case jsonCodec:
		var in any
		err = json.Unmarshal(c.body, &in)
		v = toCBOR("", in)
	default:
		v = toCBOR("", nested(c.form))
	}
	m, isMap := v.(cbor.Map)
	switch {
	case err != nil:
		return nil, &apiError{status: 400, code: "SerializationException", message: err.Error()}
	case !isMap:
		return nil, &apiError{status: 400, code: "SerializationException", message: "the body is not a map"}
	}
	return fields(m), nil
}

// nested turns parameters such as A.member.1.B=text into nested maps.
func nested(form url.Values) map[string]any {
	root := map[string]any{}
	for key := range form {
		names := strings.Split(key, ".")
		last, at := len(names)-1, root
		for _, name := range names[:last] {
			below, there := at[name].(map[string]any)
			if !there {
				below = map[string]any{}
				at[name] = below
			}
			at = below
		}
		at[names[last]] = form.Get(key)
	}
	return root
}

// toCBOR translates a value of a request. Its name decides the type where the
// protocol does not: JSON has no times, and forms have only text.
func toCBOR(name string, v any) cbor.Value {
	switch v := v.(type) {
	case map[string]any:
		if members, isList := v["member"].(map[string]any); isList {
			list := cbor.List{}
			for i := 1; members[strconv.Itoa(i)] != nil; i++ {
				list = append(list, toCBOR("", members[strconv.Itoa(i)]))
			}
			return list
		}
		m := cbor.Map{}
		for name, below := range v {
			m[name] = toCBOR(name, below)
		}
		return m
	case []any:
		list := cbor.List{}
		for _, item := range v {
			list = append(list, toCBOR("", item))
		}
		return list
	case float64:
		return number(name, v)
	case bool:
		return cbor.Bool(v)
	case string:
		return leaf(name, v)
	}
	return &cbor.Nil{}
}

func number(name string, v float64) cbor.Value {
	switch {
	case name == "StartTime" || name == "EndTime":
		return &cbor.Tag{ID: 1, Value: cbor.Float64(v)}
	case v >= 0 && v == math.Trunc(v):
		return cbor.Uint(v)
	}
	return cbor.Float64(v)
}

func leaf(name, text string) cbor.Value {
	switch name {
	case "StartTime", "EndTime":
		if t, err := time.Parse(time.RFC3339, text); err == nil {
			return number(name, float64(t.UnixMilli())/1e3)
		}
	case "Period", "MaxDatapoints":
		if n, err := strconv.ParseUint(text, 10, 32); err == nil {
			return cbor.Uint(n)
		}
	}
	return cbor.String(text)
}

// respond writes a response of CloudWatch, given as CBOR, in the protocol of the
// request.
func (c *call) respond(w http.ResponseWriter, body []byte) {
	switch codec := c.codec.(type) {
	case cborCodec:
		writeCBOR(w, 200, body)
	case jsonCodec:
		writeAWSJSON(w, 200, codec.version, toJSON(decoded(body)))
	default:
		var b strings.Builder
		fmt.Fprintf(&b, `<%sResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/">`, c.operation)
		appendElement(&b, c.operation+"Result", decoded(body))
		fmt.Fprintf(&b, `<ResponseMetadata><RequestId>sim</RequestId></ResponseMetadata></%sResponse>`, c.operation)
		writeXML(w, 200, b.String())
	}
}

func decoded(body []byte) cbor.Value {
	v, err := cbor.Decode(body)
	if err != nil {
		panic(err) // this package encoded it
	}
	return v
}

func toJSON(v cbor.Value) any {
	switch v := v.(type) {
	case cbor.Map:
		m := map[string]any{}
		for name, below := range v {
			m[name] = toJSON(below)
		}
		return m
	case cbor.List:
		list := make([]any, len(v))
		for i := range v {
			list[i] = toJSON(v[i])
		}
		return list
	case *cbor.Tag:
		return toJSON(v.Value) // a time, in seconds
	}
	return v // text and numbers, as Go's own types
}

// appendElement writes a value as an XML element. The items of a list are elements
// member. The map ExtendedStatistics, whose keys are data, has elements entry.
func appendElement(b *strings.Builder, name string, v cbor.Value) {
	b.WriteString("<" + name + ">")
	switch v := v.(type) {
	case cbor.Map:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if name != "ExtendedStatistics" {
				appendElement(b, key, v[key])
				continue
			}
			b.WriteString("<entry><key>" + escape(key) + "</key>")
			appendElement(b, "value", v[key])
			b.WriteString("</entry>")
		}
	case cbor.List:
		for _, item := range v {
			appendElement(b, "member", item)
		}
	case *cbor.Tag:
		seconds, _ := v.Value.(cbor.Float64)
		b.WriteString(time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339))
	case cbor.Float64:
		b.WriteString(strconv.FormatFloat(float64(v), 'g', -1, 64))
	case cbor.String:
		b.WriteString(escape(string(v)))
	}
	b.WriteString("</" + name + ">")
}

// truncating sends half of a body and closes the connection.
type truncating struct{ http.ResponseWriter }

func (t truncating) Write(body []byte) (int, error) {
	write(t.ResponseWriter, body[:len(body)/2])
	panic(http.ErrAbortHandler)
}

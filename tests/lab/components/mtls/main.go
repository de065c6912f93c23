// Command mtls makes TLS connections in which both sides prove themselves by their X.509-SVIDs, each with a handshake of its own.
//
//	mtls serve ADDRESS
//	mtls call ADDRESS SPIFFE-ID PAUSE
//
// What a caller has counted is printed every second, as one line of JSON.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

const (
	socket  = "unix:///spiffe-workload-api/spire-agent.sock"
	patient = 5 * time.Second
)

// counted is what a caller has seen since it started.
type counted struct {
	Handshakes int    `json:"handshakes"`
	Failed     int    `json:"failed"`
	Last       string `json:"last"`
	// Issuers are the authority key identifiers of the certificates that the other side presented.
	Issuers map[string]int `json:"issuers"`
}

func main() {
	log.SetFlags(0)
	ctx := context.Background()
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr(socket)))
	if err != nil {
		log.Fatal(err)
	}
	switch arguments := os.Args[1:]; {
	case len(arguments) == 2 && arguments[0] == "serve":
		log.Fatal(serve(arguments[1], source))
	case len(arguments) == 4 && arguments[0] == "call":
		id, err := spiffeid.FromString(arguments[2])
		if err != nil {
			log.Fatal(err)
		}
		pause, err := time.ParseDuration(arguments[3])
		if err != nil {
			log.Fatal(err)
		}
		call(arguments[1], id, pause, source)
	default:
		log.Fatal("usage: mtls serve ADDRESS | mtls call ADDRESS SPIFFE-ID PAUSE")
	}
}

func serve(address string, source *workloadapi.X509Source) error {
	config := tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeAny())
	// Every connection proves both sides anew.
	config.SessionTicketsDisabled = true
	listener, err := tls.Listen("tcp", address, config)
	if err != nil {
		return err
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go answer(connection)
	}
}

func answer(connection net.Conn) {
	defer connection.Close()
	// A caller that went away is its own business.
	_ = connection.SetDeadline(time.Now().Add(patient))
	_, _ = fmt.Fprint(connection, "hello")
}

func call(address string, id spiffeid.ID, pause time.Duration, source *workloadapi.X509Source) {
	config := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(id))
	counted := counted{Issuers: map[string]int{}}
	output := json.NewEncoder(os.Stdout)
	tick := time.NewTicker(time.Second)
	for {
		issuer, err := once(address, config)
		if err != nil {
			counted.Failed++
			counted.Last = fmt.Sprintf("%s: %s", time.Now().UTC().Format(time.RFC3339), err)
		} else {
			counted.Handshakes++
			counted.Issuers[issuer]++
		}
		select {
		case <-tick.C:
			if err := output.Encode(counted); err != nil {
				log.Fatal(err)
			}
		case <-time.After(pause):
		}
	}
}

// once makes one connection and reads the answer: with TLS 1.3 only that tells the caller that it was accepted too.
func once(address string, config *tls.Config) (string, error) {
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: patient}, Config: config}
	connection, err := dialer.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(patient)); err != nil {
		return "", err
	}
	text, err := io.ReadAll(connection)
	if err != nil {
		return "", err
	}
	if string(text) != "hello" {
		return "", fmt.Errorf("%q instead of an answer", text)
	}
	state := connection.(*tls.Conn).ConnectionState()
	return fmt.Sprintf("%x", state.PeerCertificates[0].AuthorityKeyId), nil
}

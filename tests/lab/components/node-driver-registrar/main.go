// Command csi-node-driver-registrar stands in for the kubernetes-csi program of that name, whose v2 the Go module
// proxies do not offer: same flags, same registration protocol (plugin registration v1) with the kubelet.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const (
	callTimeout   = 5 * time.Second
	driverTimeout = time.Minute
	retryInterval = 500 * time.Millisecond
)

// registrar answers the kubelet's questions about one CSI driver.
type registrar struct {
	registration.UnimplementedRegistrationServer
	driver, endpoint string
}

func (r *registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type:              registration.CSIPlugin,
		Name:              r.driver,
		Endpoint:          r.endpoint,
		SupportedVersions: []string{"1.0.0"},
	}, nil
}

// NotifyRegistrationStatus ends the program when the kubelet refuses the driver, so that a restart tries again.
func (r *registrar) NotifyRegistrationStatus(_ context.Context, status *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if !status.PluginRegistered {
		log.Fatalf("the kubelet refused %s: %s", r.driver, status.Error)
	}
	log.Printf("%s is registered", r.driver)
	return &registration.RegistrationStatusResponse{}, nil
}

func main() {
	socket := flag.String("csi-address", "/run/csi/socket", "path of the CSI driver's socket")
	endpoint := flag.String("kubelet-registration-path", "", "path of that socket as the kubelet sees it")
	dir := flag.String("plugin-registration-path", "/registration", "directory that the kubelet watches")
	flag.Parse()

	if *endpoint == "" {
		log.Fatal("--kubelet-registration-path is required")
	}
	if err := run(*socket, *endpoint, *dir); err != nil {
		log.Fatal(err)
	}
}

func run(socket, endpoint, dir string) error {
	driver, err := driverName(socket)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, driver+"-reg.sock")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the socket of an earlier run: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen for the kubelet: %w", err)
	}
	server := grpc.NewServer()
	registration.RegisterRegistrationServer(server, &registrar{driver: driver, endpoint: endpoint})
	log.Printf("registering %s through %s", driver, path)
	return server.Serve(listener)
}

// driverName asks the CSI driver for its name, and waits for a driver that is still starting.
func driverName(socket string) (string, error) {
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", fmt.Errorf("connect to the CSI driver: %w", err)
	}
	defer connection.Close()
	identity := csi.NewIdentityClient(connection)

	for deadline := time.Now().Add(driverTimeout); ; time.Sleep(retryInterval) {
		name, err := askName(identity)
		if err == nil {
			return name, nil
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("the CSI driver at %s gives no name: %w", socket, err)
		}
	}
}

func askName(identity csi.IdentityClient) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	info, err := identity.GetPluginInfo(ctx, &csi.GetPluginInfoRequest{})
	return info.GetName(), err
}

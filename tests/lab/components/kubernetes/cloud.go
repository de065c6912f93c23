package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"

	"github.com/spf13/cobra"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	clientset "k8s.io/client-go/kubernetes"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/app/config"
	"k8s.io/cloud-provider/names"
	"k8s.io/cloud-provider/options"
	cliflag "k8s.io/component-base/cli/flag"
)

// cloud is the lab's cloud provider: it has load balancers and nothing else. A load balancer is an address of the
// cluster's range, which the host routes to a node and kube-proxy answers for (ipMode VIP), as with a layer-4 load
// balancer that keeps the destination address.
type cloud struct {
	mu     sync.Mutex
	client clientset.Interface
	first  netip.Addr
	last   netip.Addr
}

const cloudName = "lab"

// newCloudControllerManager builds the standard cloud controller manager around our provider and keeps its service
// controller only. The range comes as the cloud configuration file: "FIRST LAST".
func newCloudControllerManager() *cobra.Command {
	cloudprovider.RegisterCloudProvider(cloudName, func(r io.Reader) (cloudprovider.Interface, error) {
		if r == nil {
			return nil, errors.New("the lab's cloud needs --cloud-config with its address range")
		}
		var first, last string
		if _, err := fmt.Fscan(r, &first, &last); err != nil {
			return nil, fmt.Errorf("address range: %w", err)
		}
		c := &cloud{}
		var err error
		if c.first, err = netip.ParseAddr(first); err != nil {
			return nil, err
		}
		if c.last, err = netip.ParseAddr(last); err != nil {
			return nil, err
		}
		return c, nil
	})
	opts, err := options.NewCloudControllerManagerOptions()
	if err != nil {
		panic(err)
	}
	initializers := map[string]app.ControllerInitFuncConstructor{
		names.ServiceLBController: app.DefaultInitFuncConstructors[names.ServiceLBController],
	}
	provider := func(cfg *config.CompletedConfig) cloudprovider.Interface {
		shared := cfg.ComponentConfig.KubeCloudShared
		p, err := cloudprovider.InitCloudProvider(shared.CloudProvider.Name, shared.CloudProvider.CloudConfigFile)
		if err != nil {
			panic(err)
		}
		return p
	}
	return app.NewCloudControllerManagerCommand(opts, provider, initializers, names.CCMControllerAliases(), cliflag.NamedFlagSets{}, wait.NeverStop)
}

func (c *cloud) Initialize(b cloudprovider.ControllerClientBuilder, _ <-chan struct{}) {
	c.client = b.ClientOrDie("lab-cloud")
}
func (c *cloud) LoadBalancer() (cloudprovider.LoadBalancer, bool) { return c, true }
func (c *cloud) Instances() (cloudprovider.Instances, bool)       { return nil, false }
func (c *cloud) InstancesV2() (cloudprovider.InstancesV2, bool)   { return nil, false }
func (c *cloud) Zones() (cloudprovider.Zones, bool)               { return nil, false }
func (c *cloud) Clusters() (cloudprovider.Clusters, bool)         { return nil, false }
func (c *cloud) Routes() (cloudprovider.Routes, bool)             { return nil, false }
func (c *cloud) ProviderName() string                             { return cloudName }
func (c *cloud) HasClusterID() bool                               { return true }

func (c *cloud) GetLoadBalancerName(_ context.Context, _ string, s *core.Service) string {
	return cloudprovider.DefaultLoadBalancerName(s)
}

func (c *cloud) GetLoadBalancer(_ context.Context, _ string, s *core.Service) (*core.LoadBalancerStatus, bool, error) {
	if len(s.Status.LoadBalancer.Ingress) == 0 {
		return nil, false, nil
	}
	return s.Status.LoadBalancer.DeepCopy(), true, nil
}

// EnsureLoadBalancer keeps the address that the service has, or gives it the first one that no service holds. The
// addresses in use are read from the API server under a lock, so a restart forgets nothing.
func (c *cloud) EnsureLoadBalancer(ctx context.Context, _ string, s *core.Service, _ []*core.Node) (*core.LoadBalancerStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(s.Status.LoadBalancer.Ingress) > 0 {
		return s.Status.LoadBalancer.DeepCopy(), nil
	}
	all, err := c.client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, other := range all.Items {
		for _, in := range other.Status.LoadBalancer.Ingress {
			used[in.IP] = true
		}
	}
	for a := c.first; a.Compare(c.last) <= 0; a = a.Next() {
		if used[a.String()] {
			continue
		}
		vip := core.LoadBalancerIPModeVIP
		status := &core.LoadBalancerStatus{Ingress: []core.LoadBalancerIngress{{IP: a.String(), IPMode: &vip}}}
		// Written here as well as by the caller, so that the address is taken before the lock is given up.
		fresh, err := c.client.CoreV1().Services(s.Namespace).Get(ctx, s.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		fresh.Status.LoadBalancer = *status
		if _, err := c.client.CoreV1().Services(s.Namespace).UpdateStatus(ctx, fresh, metav1.UpdateOptions{}); err != nil {
			return nil, err
		}
		return status, nil
	}
	return nil, fmt.Errorf("no free load balancer address between %s and %s", c.first, c.last)
}

func (c *cloud) UpdateLoadBalancer(context.Context, string, *core.Service, []*core.Node) error {
	return nil
}

func (c *cloud) EnsureLoadBalancerDeleted(context.Context, string, *core.Service) error { return nil }

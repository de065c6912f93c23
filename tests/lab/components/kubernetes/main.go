// Command k8s is every Kubernetes component of the lab in one binary; argv[0] (or the first argument) picks one.
// One link instead of seven, and one copy of the shared code on disk and in the page cache.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	name := filepath.Base(os.Args[0])
	if name == "k8s" && len(os.Args) > 1 {
		name = os.Args[1]
		os.Args = os.Args[1:]
	}
	commands := map[string]func() *cobra.Command{
		"kube-apiserver":           func() *cobra.Command { return apiserver.NewAPIServerCommand() },
		"kube-controller-manager":  func() *cobra.Command { return controllers.NewControllerManagerCommand() },
		"kube-scheduler":           func() *cobra.Command { return scheduler.NewSchedulerCommand() },
		"kubelet":                  func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
		"kube-proxy":               func() *cobra.Command { return proxy.NewProxyCommand() },
		"kubectl":                  kubectl.NewDefaultKubectlCommand,
		"cloud-controller-manager": newCloudControllerManager,
		"volume-provisioner":       newVolumeProvisioner,
	}
	command, known := commands[name]
	if !known {
		fmt.Fprintf(os.Stderr, "unknown component %q\n", name)
		os.Exit(2)
	}
	os.Exit(cli.Run(command()))
}

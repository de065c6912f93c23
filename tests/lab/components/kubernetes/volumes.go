package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v10/controller"
)

const (
	provisionerName = "volumes.lab.spire-mesh.dev"
	nodeAnnotation  = provisionerName + "/node"
)

// provisioner makes a `local` persistent volume for a claim: a directory on the disk of the node that the scheduler
// chose, bound to that node as an EBS volume is bound to its zone. It runs on the machine that holds all the nodes'
// disks, under `<root>/<node>`, mounted in each node at mountPath.
type provisioner struct{ root, mountPath string }

func newVolumeProvisioner() *cobra.Command {
	var kubeconfig string
	p := &provisioner{}
	cmd := &cobra.Command{Use: "volume-provisioner", SilenceUsage: true, RunE: func(cmd *cobra.Command, _ []string) error {
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return err
		}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		logger := klog.Background()
		controller.NewProvisionController(logger, client, provisionerName, p, controller.LeaderElection(false)).Run(cmd.Context())
		return nil
	}}
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig of the cluster")
	cmd.Flags().StringVar(&p.root, "root", "", "folder that holds one folder of volumes for each node")
	cmd.Flags().StringVar(&p.mountPath, "mount-path", "/var/lib/lab-volumes", "where a node sees its own folder")
	return cmd
}

func (p *provisioner) Provision(_ context.Context, o controller.ProvisionOptions) (*core.PersistentVolume, controller.ProvisioningState, error) {
	if o.SelectedNode == nil {
		return nil, controller.ProvisioningFinished, errors.New("the storage class must use volumeBindingMode WaitForFirstConsumer")
	}
	if o.PVC.Spec.Selector != nil {
		return nil, controller.ProvisioningFinished, errors.New("claim selectors are not supported")
	}
	for _, mode := range o.PVC.Spec.AccessModes {
		if mode != core.ReadWriteOnce && mode != core.ReadWriteOncePod {
			return nil, controller.ProvisioningFinished, fmt.Errorf("access mode %s is not supported", mode)
		}
	}
	node := o.SelectedNode.Name
	if err := os.MkdirAll(filepath.Join(p.root, node, o.PVName), 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	if err := os.Chmod(filepath.Join(p.root, node, o.PVName), 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	return &core.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName, Annotations: map[string]string{nodeAnnotation: node}},
		Spec: core.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			Capacity:                      core.ResourceList{core.ResourceStorage: o.PVC.Spec.Resources.Requests[core.ResourceStorage]},
			PersistentVolumeSource:        core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: filepath.Join(p.mountPath, o.PVName)}},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
				MatchExpressions: []core.NodeSelectorRequirement{{Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{node}}}}}}},
		},
	}, controller.ProvisioningFinished, nil
}

func (p *provisioner) Delete(_ context.Context, v *core.PersistentVolume) error {
	node := v.Annotations[nodeAnnotation]
	if node == "" || strings.ContainsAny(node+v.Name, "/") || v.Name == "" || v.Name == ".." {
		return fmt.Errorf("persistent volume %q does not carry %s", v.Name, nodeAnnotation)
	}
	return os.RemoveAll(filepath.Join(p.root, node, v.Name))
}

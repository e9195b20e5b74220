// What a Go operator does with a cluster, with client-go: each step says its name when it has worked.
//
// The clients of the steps take protobuf alone, but for those whose answers have none (custom resources, dynamic).
// Usage: client-go KUBECONFIG NAMESPACE
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	scaleapply "k8s.io/client-go/applyconfigurations/autoscaling/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/retry"
)

const protobuf = "application/vnd.kubernetes.protobuf"

type program struct {
	config    *rest.Config
	typed     *kubernetes.Clientset
	namespace string
}

func main() {
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	must(err)
	config.QPS, config.Burst = 1000, 1000
	strict := rest.CopyConfig(config)
	strict.ContentType, strict.AcceptContentTypes = protobuf, protobuf
	typed, err := kubernetes.NewForConfig(strict)
	must(err)
	p := &program{config, typed, os.Args[2]}
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	steps := []struct {
		name string
		run  func(context.Context) error
	}{
		{"discovery", p.discovery},
		{"typed", p.typedClient},
		{"errors", p.errors},
		{"informer", p.informer},
		{"watch", p.watch},
		{"apply", p.apply},
		{"scale", p.applyScale},
		{"put creates", p.putCreates},
		{"dynamic", p.dynamic},
		{"metadata", p.metadata},
		{"leader election", p.leaderElection},
		{"pod", p.pod},
	}
	for _, step := range steps {
		if err := step.run(ctx); err != nil {
			fmt.Printf("%s: %v\n", step.name, err)
			os.Exit(1)
		}
		fmt.Println(step.name)
	}
}

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func (p *program) configMap(name string, data map[string]string) *corev1.ConfigMap {
	meta := metav1.ObjectMeta{Name: name, Labels: map[string]string{"of": "client-go"}}
	return &corev1.ConfigMap{ObjectMeta: meta, Data: data}
}

func (p *program) discovery(ctx context.Context) error {
	version, err := p.typed.Discovery().ServerVersion()
	if err != nil {
		return err
	}
	if version.Major != "1" {
		return fmt.Errorf("server version %v", version)
	}
	_, resources, err := p.typed.Discovery().ServerGroupsAndResources()
	if err == nil && len(resources) < 10 {
		err = fmt.Errorf("only %d group versions", len(resources))
	}
	return err
}

func (p *program) typedClient(ctx context.Context) error {
	maps := p.typed.CoreV1().ConfigMaps(p.namespace)
	made, err := maps.Create(ctx, p.configMap("typed", map[string]string{"a": "1"}), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if made.UID == "" || made.CreationTimestamp.IsZero() || made.ManagedFields[0].Manager != "client-go" {
		return fmt.Errorf("made %v", made)
	}
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		found, err := maps.Get(ctx, "typed", metav1.GetOptions{})
		if err != nil {
			return err
		}
		found.Data["b"] = "2"
		_, err = maps.Update(ctx, found, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	made.Data["c"] = "3"
	if _, err := maps.Update(ctx, made, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		return fmt.Errorf("an update of what has changed: %v", err)
	}
	patch := []byte(`{"data":{"a":null,"d":"4"}}`)
	patched, err := maps.Patch(ctx, "typed", types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return err
	}
	if len(patched.Data) != 2 || patched.Data["d"] != "4" {
		return fmt.Errorf("patched %v", patched.Data)
	}
	return maps.Delete(ctx, "typed", metav1.DeleteOptions{})
}

func (p *program) errors(ctx context.Context) error {
	maps := p.typed.CoreV1().ConfigMaps(p.namespace)
	if _, err := maps.Get(ctx, "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("get: %v", err)
	}
	_, err := maps.Create(ctx, p.configMap("Not_a_Name", nil), metav1.CreateOptions{})
	if status, ok := err.(apierrors.APIStatus); !ok || status.Status().Details.Causes[0].Field != "metadata.name" {
		return fmt.Errorf("create: %v", err)
	}
	return nil
}

func (p *program) informer(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	maps := p.typed.CoreV1().ConfigMaps(p.namespace)
	if _, err := maps.Create(ctx, p.configMap("before", nil), metav1.CreateOptions{}); err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(p.typed, 0, informers.WithNamespace(p.namespace))
	informer, lister := factory.Core().V1().ConfigMaps().Informer(), factory.Core().V1().ConfigMaps().Lister()
	events := make(chan string, 100)
	informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { events <- "add " + obj.(*corev1.ConfigMap).Name },
		UpdateFunc: func(_, obj any) { events <- "update " + obj.(*corev1.ConfigMap).Name },
		DeleteFunc: func(obj any) { events <- "delete " + obj.(*corev1.ConfigMap).Name },
	})
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return fmt.Errorf("the cache was not filled")
	}
	made, err := maps.Create(ctx, p.configMap("after", nil), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	made.Data = map[string]string{"a": "1"}
	if _, err := maps.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if err := maps.Delete(ctx, "before", metav1.DeleteOptions{}); err != nil {
		return err
	}
	wanted := map[string]bool{"add before": true, "add after": true, "update after": true, "delete before": true}
	for len(wanted) > 0 {
		select {
		case event := <-events:
			delete(wanted, event)
		case <-ctx.Done():
			return fmt.Errorf("not told of %v", wanted)
		}
	}
	found, err := lister.ConfigMaps(p.namespace).List(labels.SelectorFromSet(labels.Set{"of": "client-go"}))
	if err == nil && (len(found) != 1 || found[0].Data["a"] != "1") {
		err = fmt.Errorf("listed %v", found)
	}
	return err
}

func (p *program) watch(ctx context.Context) error {
	maps := p.typed.CoreV1().ConfigMaps(p.namespace)
	watcher, err := maps.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=watched"})
	if err != nil {
		return err
	}
	defer watcher.Stop()
	if _, err := maps.Create(ctx, p.configMap("watched", nil), metav1.CreateOptions{}); err != nil {
		return err
	}
	event := <-watcher.ResultChan()
	if made, ok := event.Object.(*corev1.ConfigMap); !ok || event.Type != watch.Added || made.Name != "watched" {
		return fmt.Errorf("event %v", event)
	}
	return nil
}

func (p *program) apply(ctx context.Context) error {
	maps := p.typed.CoreV1().ConfigMaps(p.namespace)
	wanted := coreapply.ConfigMap("applied", p.namespace).WithData(map[string]string{"a": "1", "b": "2"})
	options := metav1.ApplyOptions{FieldManager: "one"}
	made, err := maps.Apply(ctx, wanted, options)
	if err != nil {
		return err
	}
	other := coreapply.ConfigMap("applied", p.namespace).WithData(map[string]string{"a": "other"})
	if _, err := maps.Apply(ctx, other, metav1.ApplyOptions{FieldManager: "two"}); !apierrors.IsConflict(err) {
		return fmt.Errorf("a field of another: %v", err)
	}
	extracted, err := coreapply.ExtractConfigMap(made, "one")
	if err != nil {
		return err
	}
	delete(extracted.Data, "b")
	made, err = maps.Apply(ctx, extracted, options)
	if err == nil && (len(made.Data) != 1 || made.Data["a"] != "1") {
		err = fmt.Errorf("applied %v", made.Data)
	}
	return err
}

func (p *program) applyScale(ctx context.Context) error {
	deployments := p.typed.AppsV1().Deployments(p.namespace)
	labels := map[string]string{"app": "scaled"}
	container := coreapply.Container().WithName("c").WithImage("proa.local/python")
	template := coreapply.PodTemplateSpec().WithLabels(labels).WithSpec(coreapply.PodSpec().WithContainers(container))
	spec := appsapply.DeploymentSpec().WithReplicas(0).WithTemplate(template).
		WithSelector(metaapply.LabelSelector().WithMatchLabels(labels))
	wanted := appsapply.Deployment("scaled", p.namespace).WithSpec(spec)
	if _, err := deployments.Apply(ctx, wanted, metav1.ApplyOptions{FieldManager: "one"}); err != nil {
		return err
	}
	paused := []byte(`{"spec":{"paused":true}}`)
	if _, err := deployments.Patch(ctx, "scaled", types.MergePatchType, paused, metav1.PatchOptions{}); err != nil {
		return err
	}
	scale := scaleapply.Scale().WithSpec(scaleapply.ScaleSpec().WithReplicas(2))
	options := metav1.ApplyOptions{FieldManager: "scaler"}
	if _, err := deployments.ApplyScale(ctx, "scaled", scale, options); !apierrors.IsConflict(err) {
		return fmt.Errorf("the replicas of another: %v", err)
	}
	options.Force = true
	scaled, err := deployments.ApplyScale(ctx, "scaled", scale, options)
	if err == nil && scaled.Spec.Replicas != 2 {
		err = fmt.Errorf("scaled to %d", scaled.Spec.Replicas)
	}
	return err
}

func (p *program) putCreates(ctx context.Context) error {
	holder := "me"
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "put"},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder},
	}
	made, err := p.typed.CoordinationV1().Leases(p.namespace).Update(ctx, lease, metav1.UpdateOptions{})
	if err == nil && made.UID == "" {
		err = fmt.Errorf("made %v", made)
	}
	return err
}

func (p *program) dynamic(ctx context.Context) error {
	client, err := dynamic.NewForConfig(p.config)
	if err != nil {
		return err
	}
	maps := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(p.namespace)
	obj := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "dynamic"}, "data": map[string]any{"a": "1"},
	}}
	if _, err := maps.Create(ctx, obj, metav1.CreateOptions{}); err != nil {
		return err
	}
	_ = unstructured.SetNestedField(obj.Object, "2", "data", "b")
	if _, err := maps.Apply(ctx, "dynamic", obj, metav1.ApplyOptions{FieldManager: "dynamic"}); err != nil {
		return err
	}
	found, err := maps.Get(ctx, "dynamic", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if data, _, _ := unstructured.NestedStringMap(found.Object, "data"); len(data) != 2 {
		return fmt.Errorf("found %v", data)
	}
	return nil
}

func (p *program) metadata(ctx context.Context) error {
	config := metadata.ConfigFor(p.config)
	config.AcceptContentTypes = protobuf
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return err
	}
	maps := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(p.namespace)
	list, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "of=client-go", Limit: 1})
	if err != nil {
		return err
	}
	if len(list.Items) != 1 || list.Continue == "" || list.Items[0].UID == "" {
		return fmt.Errorf("listed %v", list)
	}
	return nil
}

func (p *program) leaderElection(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Name: "leader", Namespace: p.namespace},
		Client:     p.typed.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: "only"},
	}
	led := false
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, ReleaseOnCancel: true, Name: "only",
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: time.Second,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { led = true; cancel() },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return err
	}
	elector.Run(ctx)
	lease, err := p.typed.CoordinationV1().Leases(p.namespace).Get(context.Background(), "leader", metav1.GetOptions{})
	if err == nil && (!led || *lease.Spec.HolderIdentity != "") {
		err = fmt.Errorf("led %v, and left %v", led, lease.Spec)
	}
	return err
}

func (p *program) pod(ctx context.Context) error {
	pods := p.typed.CoreV1().Pods(p.namespace)
	grace := int64(1)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "main"},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "main", Image: "proa.local/python",
				Command: []string{"python", "-c", "print('hello', flush=True); import time; time.sleep(60)"},
			}},
		},
	}
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	isRunning := func(ctx context.Context) (bool, error) {
		found, err := pods.Get(ctx, "main", metav1.GetOptions{})
		return err == nil && found.Status.Phase == corev1.PodRunning, err
	}
	if err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, isRunning); err != nil {
		return err
	}
	if err := p.exec("websocket"); err != nil {
		return err
	}
	if err := p.exec("spdy"); err != nil {
		return err
	}
	log, err := pods.GetLogs("main", &corev1.PodLogOptions{}).Stream(ctx)
	if err != nil {
		return err
	}
	defer log.Close()
	said, err := io.ReadAll(log)
	if err == nil && string(said) != "hello\n" {
		err = fmt.Errorf("logged %q", said)
	}
	return err
}

func (p *program) exec(transport string) error {
	options := &corev1.PodExecOptions{Command: []string{"python", "-c", "print(input() * 2)"}, Stdin: true, Stdout: true}
	url := p.typed.CoreV1().RESTClient().Post().Resource("pods").Namespace(p.namespace).Name("main").
		SubResource("exec").VersionedParams(options, scheme.ParameterCodec).URL()
	var executor remotecommand.Executor
	var err error
	if transport == "spdy" {
		executor, err = remotecommand.NewSPDYExecutor(p.config, "POST", url)
	} else {
		executor, err = remotecommand.NewWebSocketExecutor(p.config, "GET", url.String())
	}
	if err != nil {
		return err
	}
	var out bytes.Buffer
	err = executor.StreamWithContext(context.Background(), remotecommand.StreamOptions{
		Stdin: bytes.NewBufferString("ab\n"), Stdout: &out,
	})
	if err == nil && out.String() != "abab\n" {
		err = fmt.Errorf("%s: said %q", transport, out.String())
	}
	return err
}

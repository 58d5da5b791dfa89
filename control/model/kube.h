/* Short names for the generated messages of Kubernetes' own kinds: KUBE_CORE(Service). */
#ifndef OUTRIGGER_CONTROL_MODEL_KUBE_H
#define OUTRIGGER_CONTROL_MODEL_KUBE_H

#include "proto/k8s_apps.pb-c.h"
#include "proto/k8s_core.pb-c.h"
#include "proto/k8s_discovery.pb-c.h"

#define KUBE_CORE(name) K8s__Io__Api__Core__V1__##name
#define KUBE_APPS(name) K8s__Io__Api__Apps__V1__##name
#define KUBE_DISCOVERY(name) K8s__Io__Api__Discovery__V1__##name
#define KUBE_META(name) K8s__Io__Apimachinery__Pkg__Apis__Meta__V1__##name

#endif

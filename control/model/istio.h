/* Short names for Istio's generated messages: ISTIO(HTTPRoute). */
#ifndef OUTRIGGER_CONTROL_MODEL_ISTIO_H
#define OUTRIGGER_CONTROL_MODEL_ISTIO_H

#include "proto/istio_mesh.pb-c.h"
#include "proto/istio_networking.pb-c.h"

#define ISTIO(name) Istio__Networking__V1alpha3__##name
#define ISTIO_MESH(name) Istio__Mesh__V1alpha1__##name

#endif

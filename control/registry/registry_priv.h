/* What the builders of the registry share. */
#ifndef OUTRIGGER_CONTROL_REGISTRY_PRIV_H
#define OUTRIGGER_CONTROL_REGISTRY_PRIV_H

#include "control/model/kube.h"
#include "control/model/label_index.h"
#include "control/registry/registry.h"

/* Objects by kind, while a registry is being built. */
struct sorted {
    const struct object **v[KIND_COUNT]; /* oldest first */
    unsigned count[KIND_COUNT];
};

/* What selectors choose from. */
struct selectable {
    struct label_index pods, slices, workload_entries; /* struct pod; objects of both kinds */
};

void pods_build(struct registry *r, const struct sorted *sorted);

struct service *service_of_kubernetes(struct registry *r, const struct object *o, struct vips *vips);
unsigned services_of_entry(struct registry *r, const struct object *o, struct service **out);
struct labels labels_of_workload(struct arena *arena, const ISTIO(WorkloadEntry) *workload);
void endpoints_of_kubernetes(struct registry *r, struct service *s, struct selectable *from);
void endpoints_of_entry(struct registry *r, struct service *s, struct selectable *from);

#endif

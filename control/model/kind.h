/* The kinds of objects that an operator may write, and what becomes of each. */
#ifndef OUTRIGGER_CONTROL_MODEL_KIND_H
#define OUTRIGGER_CONTROL_MODEL_KIND_H

#include "sidecar/base/str.h"

#include <protobuf-c/protobuf-c.h>

enum kind {
    KIND_SERVICE,
    KIND_POD,
    KIND_DEPLOYMENT,
    KIND_ENDPOINT_SLICE,
    KIND_CONFIG_MAP,
    KIND_VIRTUAL_SERVICE,
    KIND_DESTINATION_RULE,
    KIND_SERVICE_ENTRY,
    KIND_WORKLOAD_ENTRY,
    KIND_COUNT,
};

struct kind_info {
    const char *group; /* "" is Kubernetes' core group */
    const char *name;  /* "VirtualService" */
    const char *plural;
    /* Of `spec` where the kind is Istio's, of the whole object where it is Kubernetes' own. */
    const ProtobufCMessageDescriptor *descriptor;
    bool is_core;
};

const struct kind_info *kind_info(enum kind kind);

enum kind_verdict {
    KIND_KNOWN,
    KIND_NOT_BUILT, /* the mesh's own, refused with the reason */
    KIND_OF_OTHERS, /* none of the mesh's business: passed over */
    KIND_MISSPELT,  /* no such kind in a group of ours, or nearly one of ours */
};

/* What apiVersion and kind name. text_r: the reason of KIND_NOT_BUILT, the nearest known name of KIND_MISSPELT (may be NULL). */
enum kind_verdict kind_find(struct str api_version, struct str kind, enum kind *kind_r, const char **text_r);
/* By name or plural, any case, with or without the group, as the command line takes it: "virtualservice", "vs", "svc". */
bool kind_parse(struct str word, enum kind *kind_r);

#endif

/* Host names in rules: short and full, wildcards. */
#ifndef OUTRIGGER_CONTROL_MODEL_HOST_H
#define OUTRIGGER_CONTROL_MODEL_HOST_H

#include "sidecar/base/arena.h"
#include "sidecar/base/str.h"

/* A name without a dot is of the namespace ns: "reviews" becomes "reviews.NS.svc.DOMAIN". Any other name, and "*", stays
 * as it is (Istio's rule). */
struct str host_fqdn(struct arena *arena, struct str host, struct str ns, struct str domain);
/* For tables: names that differ in case alone are one host. */
struct str host_key(struct arena *arena, struct str host);
bool host_is_wildcard(struct str host); /* begins with '*' */
/* Whether every name that `name` stands for is also meant by `pattern`: "*.example.com" covers "a.example.com" and
 * "*.a.example.com"; "*" covers all. */
bool host_covers(struct str pattern, struct str name);
/* A DNS name of RFC 1123 labels, at most 253 bytes, with an optional "*" or "*." in front. */
bool host_is_valid(struct str host);
/* The name of a Kubernetes object (RFC 1123 subdomain). */
bool host_is_dns_name(struct str name);

#endif

/* Names of services for pods without a DNS server: one file a namespace, bind-mounted on /etc/hosts of its pods. */
#ifndef OUTRIGGER_CONTROL_REGISTRY_NAMES_H
#define OUTRIGGER_CONTROL_REGISTRY_NAMES_H

#include "control/registry/registry.h"

/* What the file of a namespace says. */
void names_write(const struct registry *r, struct str ns, struct buf *out);
/* Of all that the files are made from. */
uint64_t names_digest(const struct registry *r);
/* Rewrites DIR/NS of every namespace that has services or pods where it differs: in place, since the file is mounted. 0, or
 * -errno of the first that failed. */
int names_update(const struct registry *r, const char *dir);

#endif

/* Addresses for Services that bring none, where no Kubernetes gives them out: XXH64("ns/name") in the range, or the next free one.
 * Kept in a file, so that a name never changes its address. */
#ifndef OUTRIGGER_CONTROL_REGISTRY_VIPS_H
#define OUTRIGGER_CONTROL_REGISTRY_VIPS_H

#include "sidecar/base/err.h"
#include "sidecar/base/str.h"

struct vips;

/* cidr is an IPv4 range of at most /30. path: the file, NULL: nothing is kept. A broken file is an error: giving out other
 * addresses would cut those who hold the old ones. NULL with err. */
struct vips *vips_open(const char *cidr, const char *path, struct err *err);
void vips_free(struct vips **vips);
/* The address of "ns/name" as text; "" when the range is used up. */
struct str vips_get(struct vips *vips, struct str ns, struct str name);
/* An address that somebody chose: it is not given out. Those outside of the range are fine. */
void vips_reserve(struct vips *vips, struct str address);
/* Writes the file if anything changed: a temporary one, then renamed. 0 or -errno. */
int vips_save(struct vips *vips);

#endif

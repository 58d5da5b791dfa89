/* The settings of the whole mesh. */
#ifndef OUTRIGGER_CONTROL_CHECK_MESH_H
#define OUTRIGGER_CONTROL_CHECK_MESH_H

#include "control/model/istio.h"
#include "control/model/object.h"

#define MESH_CONFIG_MAP "outrigger" /* in the root namespace */

/* NULL: the key `mesh` is absent, empty or wrong (findings say how). */
const ISTIO_MESH(MeshConfig) *mesh_read(const struct object *config_map, struct arena *arena, struct findings *findings);

#endif

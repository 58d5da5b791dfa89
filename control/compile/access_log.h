/* The access log of the mesh, from MeshConfig.accessLogFile. */
#ifndef OUTRIGGER_CONTROL_COMPILE_ACCESS_LOG_H
#define OUTRIGGER_CONTROL_COMPILE_ACCESS_LOG_H

#include "control/compile/compile.h"

/* NULL: none is asked for. */
ACCESS_LOG(AccessLog) *access_log_of_mesh(struct view *v);

#endif

/* Changes of objects by changes of the files that hold them: `apply` and `delete`. What stands around an object in its file stays
 * as it is, byte for byte; a file is replaced by rename, so that nobody sees half of it. */
#ifndef OUTRIGGER_CONTROL_SOURCES_EDIT_H
#define OUTRIGGER_CONTROL_SOURCES_EDIT_H

#include "control/model/object.h"
#include "sidecar/base/err.h"

/* Puts text, one document, in the place of old's document; where old is NULL, into DIR/applied/KIND.NAMESPACE.NAME.yaml. path_r:
 * the file, for the caller to free. False with err. */
bool edit_put(const char *dir, const struct object *old, const struct object *object, struct str text, char **path_r,
              struct err *err);
/* Removes old's document; a file without any other is removed. */
bool edit_delete(const struct object *old, struct err *err);

/* The text of the document that begins at `line` (from 1), without its separator; what edit_put takes. */
struct str edit_document(struct str text, unsigned line);

#endif

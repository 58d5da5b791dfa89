/* Directories of YAML and JSON as the source of objects: intent (--config) and observation (--state) alike.
 *
 * Read recursively: *.yaml, *.yml, *.json; hidden files, those that end in ~ and .swp, and vips.json are passed over. One bad
 * document leaves its whole file at its last good version (at the start: leaves it out). The same kind, namespace and name
 * twice: the later path is refused. A removed file removes its objects. */
#ifndef OUTRIGGER_CONTROL_SOURCES_FILES_H
#define OUTRIGGER_CONTROL_SOURCES_FILES_H

#include "control/model/object.h"
#include "proto/findings.h"
#include "sidecar/net/loop.h"

#define FILES_BYTES_MAX (16u << 20)

struct files;

/* dirs are read in this order; a path is later than another by the order of its directory, then bytewise. One that is a file is
 * read alone, whatever its name. */
struct files *files_new(const char *const *dirs, unsigned count);
/* The directory, counted from 0, that tells what is observed: its Pods come before the same ones in other directories. */
void files_observe(struct files *files, unsigned dir_at);
void files_free(struct files **files);

/* Looks at all files and reads what changed. Whether objects or findings changed. Objects of before are gone. */
bool files_scan(struct files *files);
/* Follows the directories: each change is scanned within files_delay_ms, then fn is called if anything changed. 0 or -errno,
 * with the directory that cannot be followed in *dir_r. */
typedef void files_fn(void *ctx);
int files_watch(struct files *files, struct loop *loop, files_fn *fn, void *ctx, const char **dir_r);
#define FILES_DELAY_MS 4

/* What is in force, in the order of paths and documents; good until the next scan. */
struct object *const *files_objects(const struct files *files, unsigned *count_r);
/* What is wrong with the latest texts, in force or not. */
void files_findings(const struct files *files, struct findings *out);
/* How many files are not served as they stand on disk. */
unsigned files_refused(const struct files *files);

#endif

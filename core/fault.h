/*
 * fault.h - named points at which the tests kill the program.
 *
 * FAULT("name") is nothing unless the build was configured with
 * -DSNAPFS_FAULTS=ON.  Then the environment says SNAPFS_FAULT=NAME[:COUNT]: the
 * COUNTth time (1) that this point is reached, the program kills itself with
 * SIGKILL, as if at that very instruction.
 */
#ifndef FAULT_H
#define FAULT_H

#ifdef SNAPFS_FAULTS
void fault_hit(const char *name);
#define FAULT(name) fault_hit(name)
#else
#define FAULT(name) ((void)0)
#endif

#endif

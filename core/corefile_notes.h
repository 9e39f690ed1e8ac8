/*
 * corefile_notes.h - the notes of an ELF core file: what a process is but its
 * memory.  Their layout is Linux's (fs/binfmt_elf.c), of x86-64.
 */
#ifndef COREFILE_NOTES_H
#define COREFILE_NOTES_H

#include "process.h"
#include "text.h"

void corefile_notes(struct text *t, const struct process *p);

#endif

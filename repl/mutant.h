/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Deliberate faults, for proving that the simulator finds them: each takes one
 * safety measure out. tests/sim/mutants.c has the table of them. In a product
 * build MUTANT() is the constant 0 and the faults do not exist.
 */
#ifndef COLOFS_REPL_MUTANT_H
#define COLOFS_REPL_MUTANT_H

#ifdef COLOFS_MUTANTS
#include <string.h>
extern const char *mutant; /* tests/sim sets it; NULL: none */
#define MUTANT(name) (mutant && !strcmp(mutant, name))
#else
#define MUTANT(name) 0
#endif

#endif

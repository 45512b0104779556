// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#define CATCH_CONFIG_RUNNER
#include <cstdlib>

#include "support/catch.hpp"

int main(int argc, char** argv) {
  // These two are set on some development machines and hide bugs (missing flushes, missing byte code).
  unsetenv("PYTHONUNBUFFERED");
  unsetenv("PYTHONDONTWRITEBYTECODE");
  return Catch::Session().run(argc, argv);
}

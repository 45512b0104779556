# SPDX-License-Identifier: Apache-2.0
# `cmake --build --preset release --target trainctl-runner-aarch64` makes the runner for hosts of another architecture beside
# trainctl, which looks for it there. It is the same release build for every preset and not part of the default target: it
# needs the packages g++-aarch64-linux-gnu and, once, a network.
cmake_host_system_information(RESULT cores QUERY NUMBER_OF_LOGICAL_CORES)
set(other "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/trainctl-runner-aarch64")
add_custom_target(trainctl-runner-aarch64
  COMMAND "${CMAKE_SOURCE_DIR}/scripts/make-aarch64-sysroot"
  COMMAND "${CMAKE_COMMAND}" --preset aarch64
  COMMAND "${CMAKE_COMMAND}" --build --preset aarch64 --parallel ${cores}
  COMMAND "${CMAKE_COMMAND}" -E copy_if_different "${CMAKE_SOURCE_DIR}/build/aarch64/bin/trainctl-runner-aarch64" "${other}"
  WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}" USES_TERMINAL VERBATIM)
install(PROGRAMS "${other}" DESTINATION bin OPTIONAL)

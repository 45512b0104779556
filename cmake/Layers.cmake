# SPDX-License-Identifier: Apache-2.0
# The layers of the code and what each may include. This table is the only place that says so: the libraries link by it,
# and scripts/check-layers reads it and fails on any #include that goes another way.
# layer: allowed layers (direct includes; third-party headers are not listed)
set(TRAINCTL_LAYERS
  "base:"
  "spec:base"
  "yaml:base"
  "snapshot:base"
  "format:base"
  "host:base snapshot format"
  "target:base spec snapshot format host"
  "archive:base spec format"
  "index:base spec format archive"
  "engine:base spec snapshot format host target archive index"
  "cli:base spec yaml snapshot format host target archive index engine")

# One static library per folder; sources are globbed, so a new target, estimator or command is one new file.
function(trainctl_layer name)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  list(FILTER sources EXCLUDE REGEX "/main\\.cpp$")
  if(NOT sources)  # a layer nobody has written yet still configures
    set(sources "${CMAKE_BINARY_DIR}/generated/empty_layer.cpp")
    file(CONFIGURE OUTPUT "${sources}" CONTENT "namespace trainctl {}\n")
  endif()
  add_library(trainctl_${name} STATIC ${sources})
  target_include_directories(trainctl_${name} PUBLIC "${CMAKE_SOURCE_DIR}/include" "${CMAKE_SOURCE_DIR}/src" "${CMAKE_BINARY_DIR}/generated")
  target_link_libraries(trainctl_${name} PUBLIC trainctl_flags ${ARG_LINK})
  target_precompile_headers(trainctl_${name} REUSE_FROM trainctl_precompiled)
  foreach(row IN LISTS TRAINCTL_LAYERS)
    string(REGEX MATCH "^([a-z]+):(.*)$" _ "${row}")
    if(CMAKE_MATCH_1 STREQUAL name)
      separate_arguments(allowed UNIX_COMMAND "${CMAKE_MATCH_2}")
      foreach(layer IN LISTS allowed)
        target_link_libraries(trainctl_${name} PUBLIC trainctl_${layer})
      endforeach()
    endif()
  endforeach()
endfunction()

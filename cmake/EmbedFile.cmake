# SPDX-License-Identifier: Apache-2.0
# trainctl_embed(TARGET target NAME symbol FILE path): makes `extern const std::string_view trainctl::embedded::symbol`
# available to TARGET through <trainctl_embedded/symbol.hpp>, rebuilt when the file changes.
function(trainctl_embed)
  cmake_parse_arguments(ARG "" "TARGET;NAME;FILE" "" ${ARGN})
  set(dir "${CMAKE_BINARY_DIR}/generated/trainctl_embedded")
  add_custom_command(
    OUTPUT "${dir}/${ARG_NAME}.cpp" "${dir}/${ARG_NAME}.hpp"
    COMMAND ${CMAKE_COMMAND} -DINPUT=${ARG_FILE} -DNAME=${ARG_NAME} -DDIR=${dir} -P "${CMAKE_SOURCE_DIR}/cmake/EmbedFileScript.cmake"
    DEPENDS "${ARG_FILE}" "${CMAKE_SOURCE_DIR}/cmake/EmbedFileScript.cmake"
    VERBATIM)
  target_sources(${ARG_TARGET} PRIVATE "${dir}/${ARG_NAME}.cpp" "${dir}/${ARG_NAME}.hpp")
endfunction()

# trainctl_embed_table(TARGET target NAME symbol FILES file…): the same for several files at once. `trainctl::embedded::symbol()`
# gives their names without the ending and their texts, so that a new file needs no new line of C++.
function(trainctl_embed_table)
  cmake_parse_arguments(ARG "" "TARGET;NAME" "FILES" ${ARGN})
  set(dir "${CMAKE_BINARY_DIR}/generated/trainctl_embedded")
  set(includes "")
  set(rows "")
  foreach(file IN LISTS ARG_FILES)
    get_filename_component(stem "${file}" NAME_WLE)
    string(REGEX REPLACE "[^A-Za-z0-9]" "_" symbol "${ARG_NAME}_${stem}")
    trainctl_embed(TARGET ${ARG_TARGET} NAME ${symbol} FILE "${file}")
    string(APPEND includes "#include <trainctl_embedded/${symbol}.hpp>\n")
    string(APPEND rows "      {\"${stem}\", ${symbol}},\n")
  endforeach()
  file(CONFIGURE OUTPUT "${dir}/${ARG_NAME}.hpp" CONTENT "// Generated.\n#pragma once\n#include <span>\n#include <string_view>\n#include <utility>\nnamespace trainctl::embedded {\nstd::span<const std::pair<std::string_view, std::string_view>> ${ARG_NAME}();\n}\n")
  file(CONFIGURE OUTPUT "${dir}/${ARG_NAME}.cpp" CONTENT "// Generated.\n#include <trainctl_embedded/${ARG_NAME}.hpp>\n${includes}namespace trainctl::embedded {\nstd::span<const std::pair<std::string_view, std::string_view>> ${ARG_NAME}() {\n  static const std::pair<std::string_view, std::string_view> rows[] = {\n${rows}  };\n  return rows;\n}\n}\n")
  target_sources(${ARG_TARGET} PRIVATE "${dir}/${ARG_NAME}.cpp" "${dir}/${ARG_NAME}.hpp")
endfunction()

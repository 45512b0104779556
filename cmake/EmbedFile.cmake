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

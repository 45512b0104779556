// SPDX-License-Identifier: Apache-2.0
// TensorBoard's event files: any bytes are cut into records that move on, and any payload decodes or is refused.
// compiled with: host/metrics/table_files.cpp host/metrics/patterns.cpp host/metrics/keras_bars.cpp
// compiled with: host/metrics/presets.cpp host/tensorboard/event.cpp host/tensorboard/naming.cpp
// compiled with: host/tensorboard/record.cpp
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "host/metrics/table_files.hpp"
#include "host/tensorboard/event.hpp"
#include "host/tensorboard/naming.hpp"
#include "host/tensorboard/record.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trainctl::host;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  SummaryEvent event;
  for (std::string_view rest = text; !rest.empty();) {
    const RecordCut cut = cut_record(rest);
    if (cut.kind == CutKind::partial || cut.kind == CutKind::too_long) break;
    if (cut.used == 0 || cut.used > rest.size()) std::abort();
    if (cut.kind == CutKind::record) (void)decode_event(cut.payload, event);
    rest.remove_prefix(static_cast<std::size_t>(cut.used));
  }
  if (decode_event(text, event))
    for (const SummaryScalar& scalar : event.scalars)
      if (scalar.tag.empty() || scalar.tag.size() > size) std::abort();
  (void)tag_prefix(text.substr(0, 200));
  (void)parse_chainer_log(text);
  (void)parse_metrics_csv(text);
  return 0;
}

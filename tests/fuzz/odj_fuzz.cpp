// Blobs of an offline domain join. Input: one byte of choice; then a blob's data or text as it is, or groups
// of {u16 offset, value} that change a valid one.
#include <cstdlib>

#include "coordinator/join/testing_blob.h"

using namespace roamstead;
using namespace roamstead::join;

namespace {

// What could be read is written and read as the same.
void exercise(const Result<OdjBlob>& blob) {
  if (!blob) return;
  const auto written = write_odj_data(*blob);
  if (!written) return;  // texts of other people's blobs may be longer than ours
  const auto again = parse_odj_data(*written);
  // A zero RID and an account without a SID are not told apart from none.
  if (!again || again->membership.machine_password != blob->membership.machine_password ||
      again->controller != blob->controller)
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4 || size > 4096) return 0;
  const auto input = std::as_bytes(std::span(data + 1, size - 1));
  if (data[0] % 4 == 0) {
    exercise(parse_odj_data(input));
  } else if (data[0] % 4 == 1) {
    exercise(parse_odj_text(input));
  } else {
    static const auto good = write_odj_data(testing::sample_blob()).value();
    auto bad = good;
    for (std::size_t at = 0; at + 3 <= input.size(); at += 3)
      bad[load_le<std::uint16_t>(input, at) % bad.size()] = input[at + 2];
    exercise(parse_odj_data(bad));
  }
  return 0;
}

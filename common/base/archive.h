// cereal archives that do not trust lengths: little-endian, no more memory than the input could fill.
#pragma once

#include <cereal/cereal.hpp>
#include <cereal/types/optional.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/variant.hpp>
#include <cereal/types/vector.hpp>
#include <stdexcept>

#include "common/base/bytes.h"

namespace roamstead {

class BoundedOutputArchive
    : public cereal::OutputArchive<BoundedOutputArchive, cereal::AllowEmptyClassElision> {
 public:
  BoundedOutputArchive() : OutputArchive(this) {}
  void save_bytes(const void* data, std::size_t size) {
    writer_.bytes({static_cast<const std::byte*>(data), size});
  }
  Bytes take() { return writer_.take(); }

 private:
  ByteWriter writer_;
};

// The view must outlive the archive. Throws cereal::Exception on input that ends early or claims impossible
// lengths.
class BoundedInputArchive : public cereal::InputArchive<BoundedInputArchive, cereal::AllowEmptyClassElision> {
 public:
  explicit BoundedInputArchive(ByteView view) : InputArchive(this), reader_(view) {}
  void load_bytes(void* data, std::size_t size) {
    auto part = reader_.take(size);
    if (!part) throw cereal::Exception(part.error().to_string());
    if (size != 0) std::memcpy(data, part->data(), size);
  }
  std::size_t remaining() const { return reader_.remaining(); }

 private:
  ByteReader reader_;
};

template <class T>
requires std::is_arithmetic_v<T>
void CEREAL_SAVE_FUNCTION_NAME(BoundedOutputArchive& archive, const T& value) {
  archive.save_bytes(&value, sizeof value);
}
template <class T>
requires std::is_arithmetic_v<T>
void CEREAL_LOAD_FUNCTION_NAME(BoundedInputArchive& archive, T& value) {
  if constexpr (std::same_as<T, bool>) {
    std::uint8_t byte = 0;
    archive.load_bytes(&byte, 1);
    if (byte > 1) throw cereal::Exception("a truth value of " + std::to_string(byte));
    value = byte == 1;
  } else {
    archive.load_bytes(&value, sizeof value);
  }
}
template <class Archive, class T>
requires std::same_as<Archive, BoundedOutputArchive> || std::same_as<Archive, BoundedInputArchive>
void CEREAL_SERIALIZE_FUNCTION_NAME(Archive& archive, cereal::NameValuePair<T>& pair) { archive(pair.value); }
template <class T>
void CEREAL_SAVE_FUNCTION_NAME(BoundedOutputArchive& archive, const cereal::SizeTag<T>& tag) {
  auto size = static_cast<std::uint64_t>(tag.size);
  archive.save_bytes(&size, sizeof size);
}
// Every element of a container takes at least one byte, so a count beyond what remains is a lie: refused
// before anything is allocated for it. (Elements without content would break this; no message has them.)
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(BoundedInputArchive& archive, cereal::SizeTag<T>& tag) {
  std::uint64_t size = 0;
  archive.load_bytes(&size, sizeof size);
  if (size > archive.remaining())
    throw cereal::Exception("a length of " + std::to_string(size) + " where " +
                            std::to_string(archive.remaining()) + " bytes are left");
  tag.size = static_cast<cereal::size_type>(size);
}
template <class T>
void CEREAL_SAVE_FUNCTION_NAME(BoundedOutputArchive& archive, const cereal::BinaryData<T>& data) {
  archive.save_bytes(data.data, static_cast<std::size_t>(data.size));
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(BoundedInputArchive& archive, cereal::BinaryData<T>& data) {
  archive.load_bytes(data.data, static_cast<std::size_t>(data.size));
}

// Grows as the elements come, so that a count costs no more than the bytes that back it: cereal's own loader
// would make room for all of them at once, and an element may be hundreds of times larger in memory than its
// shortest encoding.
template <class T>
requires(!std::is_arithmetic_v<T>) void CEREAL_LOAD_FUNCTION_NAME(BoundedInputArchive& archive,
                                                                  std::vector<T>& values) {
  cereal::size_type count = 0;
  archive(cereal::make_size_tag(count));
  values.clear();
  for (; count != 0; --count) archive(values.emplace_back());
}

template <class T>
Bytes encode(const T& value) {
  BoundedOutputArchive archive;
  archive(value);
  return archive.take();
}

// The whole input must be one T.
template <class T>
Result<T> decode(ByteView input) {
  try {
    BoundedInputArchive archive(input);
    T value{};
    archive(value);
    if (archive.remaining() != 0)
      return fail(ErrorCode::corrupt, std::to_string(archive.remaining()) + " bytes too many at the end");
    return value;
  } catch (const std::exception&
               error) {  // cereal reports by exception; bad_alloc cannot come from a checked length
    return fail(ErrorCode::corrupt, error.what());
  }
}

}  // namespace roamstead

CEREAL_REGISTER_ARCHIVE(roamstead::BoundedOutputArchive)
CEREAL_REGISTER_ARCHIVE(roamstead::BoundedInputArchive)
CEREAL_SETUP_ARCHIVE_TRAITS(roamstead::BoundedInputArchive, roamstead::BoundedOutputArchive)

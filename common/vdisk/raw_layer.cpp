#include <algorithm>

#include "common/vdisk/foreign.h"
#include "common/vdisk/layer.h"
#include "common/vdisk/qcow2_format.h"
#include "common/vdisk/vhd_format.h"
#include "common/vdisk/vhdx_header.h"

namespace roamstead::vdisk {
namespace {

class RawLayer final : public Layer {
 public:
  RawLayer(std::unique_ptr<os::File> file, std::uint64_t size) : file_(std::move(file)), size_(size) {}

  LayerInfo info() const override {
    LayerInfo info;
    info.path = file_->path();
    info.virtual_bytes = size_;
    return info;
  }
  std::uint64_t virtual_bytes() const override { return size_; }
  Result<Piece> lookup(std::uint64_t offset, std::uint64_t length) const override {
    return Piece{Piece::Source::here, offset, length};
  }
  Result<void> read_file(std::uint64_t file_offset, MutableByteView out) const override {
    return file_->read_exactly(file_offset, out);
  }
  Result<RangeSet> extents() const override {
    RangeSet all;
    all.add({0, size_});
    return all;
  }
  std::uint32_t write_unit() const override { return 1; }
  Result<void> write(std::uint64_t offset, ByteView data) override { return file_->write_at(offset, data); }
  Result<void> flush() override { return file_->sync(); }

 private:
  std::unique_ptr<os::File> file_;
  std::uint64_t size_;
};

std::string extension_of(const std::string& path) {
  auto name = os::base_name(path);
  auto dot = name.find_last_of('.');
  auto extension = dot == std::string::npos ? std::string() : name.substr(dot);
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return extension;
}

}  // namespace

std::string_view to_string(Format format) {
  switch (format) {
    case Format::raw:
      return "raw";
    case Format::vhdx:
      return "vhdx";
    case Format::vhd:
      return "vhd";
    case Format::qcow2:
      return "qcow2";
    case Format::foreign:
      return "foreign";
  }
  return "";
}

Result<Format> parse_format(std::string_view name) {
  for (auto format : {Format::raw, Format::vhdx, Format::vhd, Format::qcow2})
    if (name == to_string(format)) return format;
  return fail(ErrorCode::invalid_argument,
              "\"" + std::string(name) + "\" is no disk format; raw, vhdx, vhd or qcow2 expected");
}

// A raw disk's content is the guest's to write, so a name that says raw is believed whatever the content
// looks like.
Result<Format> detect_format(const os::File& file, const std::string& path) {
  auto extension = extension_of(path);
  if (extension == ".raw" || extension == ".img") return Format::raw;
  RS_TRY(auto vhdx, vhdx::has_signature(file));
  if (vhdx) return Format::vhdx;
  if (extension == ".vhdx" || extension == ".avhdx")
    return fail(ErrorCode::corrupt, path + ": at offset 0: the VHDX signature \"vhdxfile\" expected");
  RS_TRY(auto qcow2, qcow2::has_signature(file));
  if (qcow2) return Format::qcow2;
  if (extension == ".qcow2")
    return fail(ErrorCode::corrupt, path + ": at offset 0: the qcow2 signature \"QFI\\xfb\" expected");
  RS_TRY(bool vhd, vhd::has_footer(file));
  if (vhd || extension == ".vhd" || extension == ".avhd") return Format::vhd;
  RS_TRY(const auto foreign, foreign_content(file));
  if (foreign)
    return fail(ErrorCode::unsupported,
                path + ": a disk of the format " + *foreign +
                    ", by its content; convert it (roamstead disk convert), or if it is "
                    "a raw disk name it .raw");
  return Format::raw;
}

Result<std::unique_ptr<Layer>> open_raw_layer(os::FileSystem& files, const std::string& path, Access access) {
  RS_TRY(auto file,
         files.open(path, access == Access::write ? os::OpenMode::read_write : os::OpenMode::read));
  RS_TRY(auto size, file->size());
  if (size == 0) return fail(ErrorCode::corrupt, path + ": an empty file is no disk");
  return std::make_unique<RawLayer>(std::move(file), size);
}

}  // namespace roamstead::vdisk

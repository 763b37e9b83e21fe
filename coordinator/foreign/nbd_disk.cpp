#include "coordinator/foreign/nbd_disk.h"

#include <libnbd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/base/text.h"
#include "common/vdisk/foreign.h"
#include "coordinator/foreign/command.h"

namespace roamstead::foreign {
namespace {

using nlohmann::json;
using vdisk::LayerInfo;

constexpr const char* kDepth = "qemu:allocation-depth";
constexpr std::uint64_t kMaxReadBytes = 16u << 20;  // qemu takes twice that at once
constexpr std::uint64_t kMaxQueryBytes = 1u << 30;  // lengths in a reply have 32 bits
constexpr std::size_t kMaxLayers = 64;

tl::unexpected<Error> nbd_error(const std::string& path, const std::string& what) {
  const char* text = nbd_get_error();
  return fail(ErrorCode::io,
              path + ": " + what + " through qemu-nbd: " + (text != nullptr ? text : "failed"));
}

// What qemu says of the chain: its layers from the top down.
Result<std::vector<LayerInfo>> describe_chain(const std::string& path, const std::string& format) {
  RS_TRY(const auto output,
         run_command({"qemu-img", "info", "--output=json", "--backing-chain", "-U", "-f", format, path}));
  if (output.status != 0)
    return fail(ErrorCode::corrupt,
                path + ": qemu-img cannot read it: " +
                    (output.err.empty() ? "no reason given" : output.err.substr(0, output.err.find('\n'))));
  const auto described = json::parse(output.out, nullptr, false);
  const auto unexpected = [&] { return fail(ErrorCode::corrupt, path + ": qemu-img describes it oddly"); };
  if (!described.is_array() || described.empty() || described.size() > kMaxLayers) return unexpected();
  std::vector<LayerInfo> layers;
  for (const auto& each : described) {
    const auto text = [&](const char* key) {
      const auto found = each.find(key);
      return found != each.end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    const auto size = each.is_object() ? each.find("virtual-size") : each.end();
    if (!each.is_object() || size == each.end() || !size->is_number_unsigned()) return unexpected();
    LayerInfo layer;
    layer.format = vdisk::Format::foreign;
    layer.foreign_format = text("format");
    layer.path = text("filename");
    layer.parent_path = text("full-backing-filename");
    layer.kind = !layer.parent_path.empty()      ? vdisk::LayerKind::differencing
                 : layer.foreign_format == "raw" ? vdisk::LayerKind::fixed
                                                 : vdisk::LayerKind::dynamic;
    layer.virtual_bytes = size->get<std::uint64_t>();
    if (const auto cluster = each.find("cluster-size");
        cluster != each.end() && cluster->is_number_unsigned())
      layer.block_bytes = cluster->get<std::uint32_t>();
    layers.push_back(std::move(layer));
  }
  return layers;
}

struct NbdClose {
  void operator()(nbd_handle* handle) const { nbd_close(handle); }  // ends qemu-nbd too
};
using Handle = std::unique_ptr<nbd_handle, NbdClose>;

// One answer to a question about depths: runs of (length, depth), from where it was asked.
struct Depths {
  struct Run {
    std::uint64_t length = 0;
    std::uint32_t depth = 0;  // 0: held nowhere; 1: by the top layer
  };
  std::vector<Run> runs;
};

int take_depths(void* user, const char* context, std::uint64_t, std::uint32_t* entries, std::size_t count,
                int*) {
  if (std::string_view(context) != kDepth) return 0;
  auto& depths = *static_cast<Depths*>(user);
  for (std::size_t i = 0; i + 1 < count; i += 2) depths.runs.push_back({entries[i], entries[i + 1]});
  return 0;
}

class NbdDisk final : public vdisk::Disk {
 public:
  static Result<std::unique_ptr<vdisk::Disk>> open(const std::string& path, const std::string& format) {
    // qemu takes names with a colon for something else than files unless a '/' comes first.
    std::error_code error;
    const auto absolute = std::filesystem::absolute(path, error).string();
    RS_TRY(auto layers, describe_chain(absolute, format));
    // Checked here because libnbd cannot tell this from any other failure.
    RS_TRY(const auto version, run_command({"qemu-nbd", "--version"}));
    if (version.status != 0) return fail(ErrorCode::unavailable, "qemu-nbd does not run");
    Handle handle(nbd_create());
    if (!handle) return nbd_error(path, "opened");
    std::string format_option = "--format=" + format;
    auto served = absolute;
    char program[] = "qemu-nbd", read_only[] = "--read-only", depth[] = "--allocation-depth";
    char* arguments[] = {program, read_only, depth, format_option.data(), served.data(), nullptr};
    if (nbd_add_meta_context(handle.get(), kDepth) != 0 ||
        nbd_connect_systemd_socket_activation(handle.get(), arguments) != 0)
      return nbd_error(path, "opened");
    const auto size = nbd_get_size(handle.get());
    if (size < 0) return nbd_error(path, "opened");
    const auto block = std::max<std::int64_t>(nbd_get_block_size(handle.get(), LIBNBD_SIZE_MINIMUM), 1);
    if (block > 65536)  // the protocol's limit
      return fail(ErrorCode::unsupported,
                  path + ": qemu-nbd wants reads of " + std::to_string(block) + " bytes");
    if (nbd_can_meta_context(handle.get(), kDepth) != 1)
      return fail(ErrorCode::unsupported,
                  path + ": this qemu-nbd does not tell layers apart (5.2 or later does)");
    return std::unique_ptr<vdisk::Disk>(new NbdDisk(path, static_cast<std::uint64_t>(size),
                                                    static_cast<std::uint64_t>(block), std::move(layers),
                                                    std::move(handle)));
  }

  std::uint64_t size_bytes() const override { return size_; }
  std::string name() const override { return path_; }
  std::vector<LayerInfo> layers() const override { return layers_; }

  Result<void> read(std::uint64_t offset, MutableByteView out) const override {
    if (offset > size_ || out.size() > size_ - offset)
      return fail(ErrorCode::invalid_argument, path_ + ": " + std::to_string(out.size()) +
                                                   " bytes at offset " + std::to_string(offset) +
                                                   " go beyond its end, " + std::to_string(size_));
    // Some formats are read by whole sectors only: what is over at either end goes through a buffer.
    while (!out.empty()) {
      const auto over = offset % block_;
      auto count = std::min<std::uint64_t>(out.size(), kMaxReadBytes);
      if (over == 0 && count >= block_) {
        count -= count % block_;
        RS_CHECK(read_blocks(offset, out.first(count)));
      } else {
        count = std::min(count, block_ - over);
        Bytes block(std::min(block_, size_ - (offset - over)));
        RS_CHECK(read_blocks(offset - over, block));
        std::copy_n(block.begin() + static_cast<std::ptrdiff_t>(over), count, out.begin());
      }
      out = out.subspan(count);
      offset += count;
    }
    return {};
  }

  Result<RangeSet> extents(std::size_t index) const override {
    if (index >= layers_.size())
      return fail(ErrorCode::invalid_argument, path_ + ": has " + std::to_string(layers_.size()) + " layers");
    RangeSet held;
    for (std::uint64_t offset = 0; offset < size_;) {
      Depths depths;
      nbd_extent_callback callback{take_depths, &depths, nullptr};
      const auto length = std::min(size_ - offset, kMaxQueryBytes);
      if (nbd_block_status(handle_.get(), length, offset, callback, 0) != 0)
        return nbd_error(path_, "offset " + std::to_string(offset) + ": what is allocated was asked");
      const auto before = offset;
      for (const auto& run : depths.runs) {
        const auto count = std::min(run.length, size_ - offset);
        if (run.depth == index + 1) held.add({offset, count});
        offset += count;
      }
      if (offset == before)
        return fail(ErrorCode::io,
                    path_ + ": qemu-nbd does not say what is allocated at offset " + std::to_string(offset));
    }
    return held;
  }

  Result<Frozen> freeze() override { return read_only(); }
  Result<void> merge(std::size_t) override { return read_only(); }

 private:
  NbdDisk(std::string path, std::uint64_t size, std::uint64_t block, std::vector<LayerInfo> layers,
          Handle handle)
      : path_(std::move(path)),
        size_(size),
        block_(block),
        layers_(std::move(layers)),
        handle_(std::move(handle)) {}

  Result<void> read_blocks(std::uint64_t offset, MutableByteView out) const {
    if (nbd_pread(handle_.get(), out.data(), out.size(), offset, 0) != 0)
      return nbd_error(path_, "offset " + std::to_string(offset) + ": read");
    return {};
  }

  tl::unexpected<Error> read_only() const {
    return fail(ErrorCode::unsupported, path_ + ": disks of this format are only read; convert it first");
  }

  const std::string path_;
  const std::uint64_t size_;
  const std::uint64_t block_;  // a power of two: what reads are multiples of
  const std::vector<LayerInfo> layers_;
  const Handle handle_;  // locks itself
};

}  // namespace

Result<std::unique_ptr<vdisk::Disk>> open_nbd_disk(const std::string& path, const std::string& format) {
  return NbdDisk::open(path, format);
}

Result<std::unique_ptr<vdisk::Disk>> open_any_disk(os::FileSystem& files, const std::string& path,
                                                   const vdisk::OpenOptions& options) {
  std::optional<std::string> format;
  {
    RS_TRY(const auto file, files.open(path, os::OpenMode::read));
    RS_TRY(format, vdisk::foreign_format(*file, path));
  }
  if (format) return open_nbd_disk(path, *format);
  return vdisk::Disk::open(files, path, vdisk::Access::read, options);
}

}  // namespace roamstead::foreign

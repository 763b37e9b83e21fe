#include "coordinator/crosscheck/libvhdi_disk.h"

#include <libvhdi.h>

namespace roamstead::crosscheck {
namespace {

// libvhdi's own account, innermost first, as one sentence; frees it.
std::string take(libvhdi_error_t*& error) {
  std::string text(1024, '\0');
  auto count = libvhdi_error_backtrace_sprint(error, text.data(), text.size());
  if (count <= 0) count = libvhdi_error_sprint(error, text.data(), text.size());
  text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  while (!text.empty() && (text.back() == '\0' || text.back() == '\n')) text.pop_back();
  for (auto& c : text)
    if (c == '\n') c = ';';
  libvhdi_error_free(&error);
  return text.empty() ? "no reason given" : text;
}

}  // namespace

struct LibvhdiDisk::Handle {
  libvhdi_file_t* file = nullptr;
  std::string path;

  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (file == nullptr) return;
    libvhdi_file_close(file, nullptr);
    libvhdi_file_free(&file, nullptr);
  }
};

LibvhdiDisk::~LibvhdiDisk() {
  // Children before the parents they refer to.
  for (auto& layer : layers_) layer.reset();
}

Result<std::unique_ptr<LibvhdiDisk>> LibvhdiDisk::open(const std::vector<std::string>& paths) {
  std::unique_ptr<LibvhdiDisk> disk(new LibvhdiDisk());
  libvhdi_error_t* error = nullptr;
  for (const auto& path : paths) {
    auto layer = std::make_unique<Handle>();
    layer->path = path;
    if (libvhdi_file_initialize(&layer->file, &error) != 1 ||
        libvhdi_file_open(layer->file, path.c_str(), libvhdi_get_access_flags_read(), &error) != 1)
      return fail(ErrorCode::unsupported, path + ": libvhdi does not open it: " + take(error));
    disk->layers_.push_back(std::move(layer));
  }
  for (std::size_t i = 0; i + 1 < disk->layers_.size(); ++i) {
    auto& child = *disk->layers_[i];
    if (libvhdi_file_set_parent_file(child.file, disk->layers_[i + 1]->file, &error) != 1)
      return fail(ErrorCode::unsupported, child.path + ": libvhdi does not take " +
                                              disk->layers_[i + 1]->path + " as its parent: " + take(error));
  }
  return disk;
}

Result<std::uint64_t> LibvhdiDisk::size_bytes() const {
  libvhdi_error_t* error = nullptr;
  std::uint64_t size = 0;
  if (libvhdi_file_get_media_size(layers_.front()->file, &size, &error) != 1)
    return fail(ErrorCode::unsupported,
                layers_.front()->path + ": libvhdi does not tell its size: " + take(error));
  return size;
}

Result<void> LibvhdiDisk::read(std::uint64_t offset, MutableByteView out) const {
  libvhdi_error_t* error = nullptr;
  auto count = libvhdi_file_read_buffer_at_offset(layers_.front()->file, out.data(), out.size(),
                                                  static_cast<off64_t>(offset), &error);
  if (count == static_cast<ssize_t>(out.size())) return {};
  return fail(ErrorCode::io, layers_.front()->path + ": libvhdi cannot read " + std::to_string(out.size()) +
                                 " bytes at offset " + std::to_string(offset) + ": " +
                                 (error != nullptr ? take(error) : "fewer were given"));
}

}  // namespace roamstead::crosscheck

// What an extraction costs on a volume of many files of which a few were changed: the first one, the next
// ones by the same extractor, and the first after a restart that found the map. Besides, a pass over the MFT
// with all paths against `fls -r -p`.
//
//   extract_timing [--files N]... [--changed N] [--rounds N] [--gib N] [--journal [--loaded]] [--directory D]
//                  [--json]
//
// Without --files: 10,000, 100,000 and 1,000,000. With --journal all files were published by a session's
// agent (and loaded whole with --loaded, else not at all); without, there is no journal and the layer below
// is the tree before. The extractor is a process of its own, whose peak memory is measured. Disks are made
// below the directory (default: a new one below TMPDIR or /tmp) and need up to 6 GiB for a million files.
// Exit status 0 when the numbers of the project's plan were reached, 1 otherwise.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>

#include "common/extract/extract.h"
#include "common/extract/snapshot.h"
#include "common/volume/partition.h"
#include "tests/support/memory_device.h"
#include "tests/support/must.h"
#include "tests/support/ntfs_image.h"
#include "tests/support/temporary_directory.h"
#include "tests/timing/timing.h"

using namespace roamstead;
using timing::median;

namespace {

constexpr const char* kRoot = "Users/alice";
constexpr const char* kJournal = "ProgramData/Roamstead/provenance.journal";
constexpr std::size_t kFilesPerDirectory = 500;

using support::must;

struct Options {
  std::vector<std::size_t> files;
  std::size_t changed = 100;
  int rounds = 9;
  std::uint64_t gib = 8;
  bool journal = false;
  bool loaded = false;
  bool json = false;
  std::string directory;
};

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string name = arguments[i];
    const auto value = [&]() -> std::string { return i + 1 < count ? arguments[++i] : ""; };
    const auto number = [&] { return std::strtoull(value().c_str(), nullptr, 10); };
    if (name == "--files") {
      options.files.push_back(std::max<std::size_t>(number(), 1));
    } else if (name == "--changed") {
      options.changed = number();
    } else if (name == "--rounds") {
      options.rounds = static_cast<int>(std::max<std::size_t>(number(), 2));
    } else if (name == "--gib") {
      options.gib = std::max<std::uint64_t>(number(), 1);
    } else if (name == "--journal") {
      options.journal = true;
    } else if (name == "--loaded") {
      options.loaded = true;
    } else if (name == "--json") {
      options.json = true;
    } else if (name == "--directory") {
      options.directory = value();
    } else {
      std::cerr << "usage: extract_timing [--files N]... [--changed N] [--rounds N] [--gib N] [--journal "
                   "[--loaded]] [--directory D] [--json]\n";
      std::exit(2);
    }
  }
  if (options.files.empty()) options.files = {10'000, 100'000, 1'000'000};
  return options;
}

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string name_of(std::size_t file) {
  return "directory " + std::to_string(file / kFilesPerDirectory) + "/a file of the user " +
         std::to_string(file) + ".txt";
}

std::string on_volume(const std::string& path) { return std::string(kRoot) + "/" + path; }

// A tenth of the files is small enough to lie in the MFT.
std::size_t size_of(std::size_t file) { return file % 10 == 0 ? 300 : 1000 + file * 37 % 3000; }

// ---- the extractor's process

struct Order {
  char frozen_path[512] = {};
  Guid below;
  std::uint32_t restart = 0;  // with the map of before
  std::uint32_t journal = 0;
};

struct Answer {
  double seconds = 0;
  double processor_seconds = 0;
  std::uint64_t records = 0;
  std::uint64_t held_back = 0;
  std::uint64_t peak_bytes = 0;
  std::uint64_t interruptions = 0;  // how often another process got the processor meanwhile
  std::uint32_t map_built = 0;
};

std::uint64_t interruptions() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_nivcsw);
}

std::uint64_t peak_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10) * 1024;
  return 0;
}

template <typename T>
bool get(int pipe, T& value) {
  return ::read(pipe, &value, sizeof value) == static_cast<ssize_t>(sizeof value);
}

template <typename T>
bool put(int pipe, const T& value) {
  return ::write(pipe, &value, sizeof value) == static_cast<ssize_t>(sizeof value);
}

[[noreturn]] void serve(int orders, int answers, const std::string& map_path) {
  auto& files = os::real_file_system();
  const extract::Extractor::Options options{map_path, true};
  auto extractor = std::make_unique<extract::Extractor>(files, options);
  for (Order order; get(orders, order);) {
    if (order.restart != 0) {
      extractor.reset();
      extractor = std::make_unique<extract::Extractor>(files, options);
    }
    extract::Request request;
    request.frozen_path = order.frozen_path;
    request.below_id = order.below;
    request.provenance_path = kJournal;
    if (order.journal == 0) request.profile_root = kRoot;
    Answer answer;
    std::unique_ptr<extract::Extraction> extraction;
    const auto interrupted = interruptions();
    const auto processor = std::clock();
    answer.seconds = seconds_of([&] { extraction = must(extractor->extract(request)); });
    answer.processor_seconds = static_cast<double>(std::clock() - processor) / CLOCKS_PER_SEC;
    answer.interruptions = interruptions() - interrupted;
    answer.records = extraction->batch().records.size();
    answer.held_back = extraction->batch().held_back.size();
    answer.map_built = extraction->statistics().map_built ? 1 : 0;
    extraction.reset();  // the layers are merged next
    answer.peak_bytes = peak_bytes();
    if (!put(answers, answer)) break;
  }
  std::_Exit(0);
}

class ExtractorProcess {
 public:
  explicit ExtractorProcess(const std::string& map_path) {
    int orders[2], answers[2];
    if (::pipe(orders) != 0 || ::pipe(answers) != 0) std::exit(2);
    process_ = ::fork();
    if (process_ < 0) std::exit(2);
    if (process_ == 0) {
      ::close(orders[1]);
      ::close(answers[0]);
      serve(orders[0], answers[1], map_path);
    }
    ::close(orders[0]);
    ::close(answers[1]);
    orders_ = orders[1];
    answers_ = answers[0];
  }
  ~ExtractorProcess() {
    ::close(orders_);
    ::close(answers_);
    ::waitpid(process_, nullptr, 0);
  }
  ExtractorProcess(const ExtractorProcess&) = delete;
  ExtractorProcess& operator=(const ExtractorProcess&) = delete;

  Answer ask(const std::string& frozen_path, const Guid& below, bool restart, bool journal) {
    Order order;
    frozen_path.copy(order.frozen_path, sizeof order.frozen_path - 1);
    order.below = below;
    order.restart = restart ? 1 : 0;
    order.journal = journal ? 1 : 0;
    Answer answer;
    if (!put(orders_, order) || !get(answers_, answer)) std::exit(2);
    return answer;
  }

 private:
  pid_t process_ = 0;
  int orders_ = -1;
  int answers_ = -1;
};

// ---- the desktop

// Only what is not a hole.
void copy_image(const std::string& image, vdisk::BlockDevice& device) {
  const int file = ::open(image.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) std::exit(2);
  Bytes buffer(1 << 20);
  for (off_t at = ::lseek(file, 0, SEEK_DATA); at >= 0; at = ::lseek(file, at, SEEK_DATA)) {
    const auto count = ::pread(file, buffer.data(), buffer.size(), at);
    if (count <= 0) break;
    must(device.write(static_cast<std::uint64_t>(at),
                      ByteView(buffer).first(static_cast<std::size_t>(count))));
    at += count;
  }
  ::close(file);
}

class Desktop {
 public:
  Desktop(const Options& options, std::size_t file_count, std::string directory)
      : options_(options), file_count_(file_count), directory_(std::move(directory)) {}

  // In a process of its own, for the memory it takes.
  void make_golden() {
    const auto process = ::fork();
    if (process < 0) std::exit(2);
    if (process == 0) {
      fill_golden();
      std::_Exit(0);
    }
    int status = 0;
    ::waitpid(process, &status, 0);
    if (status != 0) std::exit(2);
    must(vdisk::create_child(files_, golden(), directory_ + "/desktop.vhdx"));
    disk_ = must(vdisk::Disk::open(files_, directory_ + "/desktop.vhdx", vdisk::Access::write));
    const auto place = must(volume::read_partition_table(*disk_)).partitions.at(0);
    partition_ =
        std::make_unique<vdisk::SubDevice>(*disk_, place.offset_bytes, place.size_bytes, "desktop volume");
  }

  // Changes files as programs do: most in place, some by a new size, a few by another name, one new.
  vdisk::Disk::Frozen change(std::size_t count, std::uint64_t seed) {
    {
      support::NtfsImage volume(*partition_);
      std::mt19937_64 random(seed);
      for (std::size_t i = 0; i < count; ++i) {
        const auto file = random() % file_count_;
        const auto path = on_volume(name_of(file));
        Bytes bytes(100, static_cast<std::byte>(random() | 1));
        volume.write(path, i % 4 == 0 ? size_of(file) : random() % (size_of(file) - 100), bytes);
      }
      if (count != 0) volume.write(on_volume("new " + std::to_string(seed)), 0, Bytes(5000, std::byte{1}));
    }
    return must(disk_->freeze());
  }

  void merge(const Guid& keep) {
    for (;;) {
      const auto layers = disk_->layers();
      std::size_t upper = 1;
      while (upper + 2 < layers.size() && layers[upper + 1].id == keep) ++upper;
      if (upper + 2 >= layers.size()) return;
      must(disk_->merge(upper));
    }
  }

  Guid golden_id() const { return disk_->layers().back().id; }
  std::string golden() const { return directory_ + "/golden.vhdx"; }

  // The volume in a file, for fls.
  void export_raw(const std::string& path) {
    auto file = must(files_.open(path, os::OpenMode::create));
    must(file->truncate(partition_->size_bytes()));
    Bytes buffer(1 << 20);
    for (std::uint64_t at = 0; at < partition_->size_bytes(); at += buffer.size()) {
      const auto part = MutableByteView(buffer).first(
          std::min<std::uint64_t>(buffer.size(), partition_->size_bytes() - at));
      must(partition_->read(at, part));
      if (!all_zero(part)) must(file->write_at(at, part));
    }
  }

 private:
  void fill_golden() {
    const auto image = directory_ + "/image";
    support::FormatOptions format;
    format.size_bytes = options_.gib << 30;
    support::format_ntfs(image, format);
    must(vdisk::create_disk(files_, golden(), format.size_bytes + (4u << 20)));
    auto golden_disk = must(vdisk::Disk::open(files_, golden(), vdisk::Access::write));
    const auto place = must(volume::create_single_partition(*golden_disk, "timing"));
    vdisk::SubDevice device(*golden_disk, place.offset_bytes, format.size_bytes, "golden volume");
    copy_image(image, device);
    must(files_.remove(image));
    support::NtfsImage volume(device);
    for (const char* path : {"Users", kRoot, "ProgramData", "ProgramData/Roamstead"})
      volume.make_directory(path);
    Bytes journal = extract::encode_header({Guid::random(), "alice", 1, kRoot, ""});
    const auto publish = [&](extract::ItemId id, const std::string& path, std::size_t size) {
      if (!options_.journal) return;
      const auto found = volume.find(path.empty() ? kRoot : on_volume(path));
      profile::Entry entry;
      entry.size_bytes = size;
      entry.kind = found->directory ? profile::EntryKind::directory : profile::EntryKind::file;
      entry.metadata.created_100ns = found->created_100ns;
      entry.metadata.written_100ns = found->written_100ns;
      entry.metadata.attributes = found->attributes & profile::kRoamingAttributes;
      const auto add = [&](const Bytes& record) {
        journal.insert(journal.end(), record.begin(), record.end());
      };
      add(extract::encode_published(id, {found->record, found->sequence, found->created_100ns},
                                    must(profile::ProfilePath::parse(path)), entry));
      if (found->directory) add(extract::encode_populated(id));
    };
    extract::ItemId id = 0;
    publish(++id, "", 0);
    for (std::size_t i = 0; i < file_count_; ++i) {
      const auto path = name_of(i);
      if (i % kFilesPerDirectory == 0) {
        const auto directory = path.substr(0, path.rfind('/'));
        volume.make_directory(on_volume(directory));
        publish(++id, directory, 0);
      }
      if (options_.journal && !options_.loaded) {  // a placeholder
        volume.make_file(on_volume(path));
        volume.truncate(on_volume(path), size_of(i));
      } else if (!volume.write(on_volume(path), 0, Bytes(size_of(i), std::byte{1}))) {
        std::cerr << "the volume is full\n";
        std::_Exit(2);
      }
      publish(++id, path, size_of(i));
      if (options_.loaded) {
        const auto record =
            extract::encode_loaded(id, "", 0, {extract::block_tag(Bytes(size_of(i), std::byte{1}))});
        journal.insert(journal.end(), record.begin(), record.end());
      }
    }
    if (options_.journal) volume.write(kJournal, 0, journal);
  }

  os::FileSystem& files_ = os::real_file_system();
  const Options& options_;
  const std::size_t file_count_;
  const std::string directory_;
  std::unique_ptr<vdisk::Disk> disk_;
  std::unique_ptr<vdisk::SubDevice> partition_;
};

struct Figures {
  std::size_t files = 0;
  double session_first = 0;  // with a journal: the session's first batch
  double first = 0;
  double next = 0, next_best = 0, next_worst = 0;
  std::uint64_t interruptions = 0;  // of all next ones
  double next_processor = 0;        // processor time: what ratios are taken of, for the machine may be shared
  double reopened = 0;
  double peak_mib = 0;
  double scan = 0, fls = 0;  // 0: not measured
};

void scan_against_fls(Desktop& desktop, const std::string& raw, Figures& figures) {
  if (std::system("fls -V > /dev/null 2>&1") != 0) return;
  desktop.export_raw(raw);
  const auto device = must(support::FileDevice::open(os::real_file_system(), raw, os::OpenMode::read));
  std::vector<double> scans, others;
  for (int round = 0; round < 3; ++round) {
    scans.push_back(seconds_of([&] {
      const auto volume = must(ntfs::Volume::open(*device));
      std::size_t bytes = 0;
      must(volume->scan([&](std::uint64_t, const Result<ntfs::FileRecord>& file) {
        if (file)
          for (const auto& name : file->names)
            if (const auto path = volume->path_of(name)) bytes += path->size();
        return true;
      }));
      if (bytes == 0) std::exit(2);
    }));
    others.push_back(seconds_of([&] {
      if (std::system(("fls -r -p '" + raw + "' > /dev/null").c_str()) != 0) std::exit(2);
    }));
  }
  figures.scan = median(scans);
  figures.fls = median(others);
  std::filesystem::remove(raw);
}

Figures measure(const Options& options, std::size_t file_count, const std::string& directory) {
  std::filesystem::create_directories(directory);
  Figures figures;
  figures.files = file_count;
  Desktop desktop(options, file_count, directory);
  ExtractorProcess extractor(directory + "/clusters.map");  // before this process has anything open
  std::cerr << file_count << " files: making the volume\n";
  std::cerr << "  made in " << seconds_of([&] { desktop.make_golden(); }) << " s\n";
  auto below = desktop.golden_id();
  std::vector<double> next, next_processor, reopened;
  Answer answer;
  if (options.journal) {
    const auto frozen = desktop.change(options.changed, 1);
    answer = extractor.ask(frozen.frozen_path, {}, false, true);
    figures.session_first = answer.seconds;
    below = frozen.frozen_id;
  }
  const auto round = [&](std::uint64_t seed, bool restart) {
    const auto frozen = desktop.change(options.changed, seed);
    answer = extractor.ask(frozen.frozen_path, below, restart, options.journal);
    if (answer.held_back != 0 || answer.records == 0) {
      std::cerr << answer.records << " records, " << answer.held_back << " held back\n";
      std::exit(2);
    }
    below = frozen.frozen_id;
    desktop.merge(below);
    return answer.seconds;
  };
  std::filesystem::remove(directory + "/clusters.map");
  figures.first = round(2, true);
  if (answer.map_built == 0) std::exit(2);
  for (int i = 0; i < options.rounds; ++i) {
    next.push_back(round(10 + static_cast<std::uint64_t>(i), false));
    next_processor.push_back(answer.processor_seconds);
    figures.interruptions += answer.interruptions;
    if (answer.map_built != 0) std::exit(2);
  }
  figures.next_processor = median(next_processor);
  for (int i = 0; i < 3; ++i) reopened.push_back(round(1000 + static_cast<std::uint64_t>(i), true));
  figures.next = median(next);
  figures.next_best = *std::min_element(next.begin(), next.end());
  figures.next_worst = *std::max_element(next.begin(), next.end());
  figures.reopened = median(reopened);
  figures.peak_mib = static_cast<double>(answer.peak_bytes) / (1 << 20);
  if (file_count == 100'000 && !options.journal) scan_against_fls(desktop, directory + "/raw", figures);
  return figures;
}

struct Demand {
  std::string what;
  double value = 0;
  double most = 0;
};

std::vector<Demand> demands(const std::vector<Figures>& all) {
  std::vector<Demand> list;
  const Figures* last = nullptr;
  for (const auto& figures : all) {
    const auto files = std::to_string(figures.files) + " files: ";
    if (figures.files == 100'000) {
      list.push_back({files + "first extraction, ms", figures.first * 1000, 500});
      list.push_back({files + "next ones, ms", figures.next * 1000, 50});
      if (figures.fls != 0)
        list.push_back({files + "scan with paths against fls", figures.scan / figures.fls, 1 / 3.0});
    }
    if (figures.files == 1'000'000)
      list.push_back({files + "peak memory, MiB", figures.peak_mib, 200 * 1e6 / (1 << 20)});
    if (last != nullptr)
      list.push_back({files + "processor time of next ones against " + std::to_string(last->files),
                      figures.next_processor / last->next_processor, 1.5});
    if (last != nullptr)
      list.push_back({files + "wall clock of the quickest next one against " + std::to_string(last->files),
                      figures.next_best / last->next_best, 1.5});
    last = &figures;
  }
  return list;
}

}  // namespace

int main(int count, char** arguments) {
  const auto options = parse(count, arguments);
  if (!support::can_format_ntfs()) return 2;
  std::optional<support::TemporaryDirectory> temporary;
  if (options.directory.empty()) temporary.emplace();
  const auto directory = options.directory.empty() ? *temporary / "timing" : options.directory;
  std::vector<Figures> all;
  for (auto files : options.files) {
    const auto own = directory + "/" + std::to_string(files);
    all.push_back(measure(options, files, own));
    std::filesystem::remove_all(own);
  }
  nlohmann::json report{{"changed", options.changed},
                        {"gib", options.gib},
                        {"journal", options.journal},
                        {"loaded", options.loaded}};
  if (!options.json)
    std::printf("%10s %14s %10s %10s %10s %10s %10s %13s %10s %10s\n", "files", "session first", "first ms",
                "next ms", "cpu ms", "best ms", "worst ms", "interruptions", "reopened", "peak MiB");
  for (const auto& f : all) {
    report["volumes"].push_back({{"files", f.files},
                                 {"session_first_seconds", f.session_first},
                                 {"first_seconds", f.first},
                                 {"next_seconds", f.next},
                                 {"next_best_seconds", f.next_best},
                                 {"next_worst_seconds", f.next_worst},
                                 {"next_interruptions", f.interruptions},
                                 {"next_processor_seconds", f.next_processor},
                                 {"reopened_seconds", f.reopened},
                                 {"peak_mib", f.peak_mib},
                                 {"scan_seconds", f.scan},
                                 {"fls_seconds", f.fls}});
    if (!options.json)
      std::printf("%10zu %14.1f %10.1f %10.1f %10.1f %10.1f %10.1f %13llu %10.1f %10.1f\n", f.files,
                  f.session_first * 1000, f.first * 1000, f.next * 1000, f.next_processor * 1000,
                  f.next_best * 1000, f.next_worst * 1000, static_cast<unsigned long long>(f.interruptions),
                  f.reopened * 1000, f.peak_mib);
  }
  bool reached = true;
  for (const auto& demand : demands(all)) {
    const bool fine = demand.value <= demand.most;
    reached = reached && fine;
    report["demands"].push_back(
        {{"what", demand.what}, {"value", demand.value}, {"most", demand.most}, {"reached", fine}});
    if (!options.json)
      std::printf("%-50s %8.2f, at most %6.2f%s\n", demand.what.c_str(), demand.value, demand.most,
                  fine ? "" : "  NOT REACHED");
  }
  if (options.json) std::cout << report.dump(2) << '\n';
  return reached ? 0 : 1;
}

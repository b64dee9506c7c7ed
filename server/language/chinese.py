"""What the server says, in Chinese. English text → Chinese, with the same places in braces.

A place stands for whatever the code puts there; a text of this list among it is translated, too.
`tests/test_language.py` finds each text of the code here, and each of these in the code.
"""

from __future__ import annotations

# Of connections, tokens and addresses.
_ACCESS = {
    "this server needs an access token; ask its operator for it": "本服务器需要访问令牌；请向管理员索取",
    "the desk needs an access token of its own; ask its operator for it": (
        "坐席看板需要单独的访问令牌；请向管理员索取"
    ),
    "the desk is closed: server.token is set and monitor.token is not; set monitor.token to open it": (
        "坐席看板未开放：设置了 server.token 而没有设置 monitor.token；设置 monitor.token 即可开放"
    ),
    "JSONP is not served": "不提供 JSONP",
    "cross-site request; the server's operator can add the page's origin to server.cors_origins": (
        "跨站请求；管理员可以把该页面的来源加入 server.cors_origins"
    ),
    "{host} is no host name of this server; its operator can add it to server.hosts": (
        "{host} 不是本服务器的主机名；管理员可以把它加入 server.hosts"
    ),
    "there is no {path} here{nearest}": "这里没有 {path}{nearest}",
    "; did you mean {path}?": "；您要找的是 {path} 吗？",
    "; /openapi.json lists what there is": "；全部地址见 /openapi.json",
    "{path} takes {methods}, not {method}": "{path} 只接受 {methods}，不接受 {method}",
    "{message}; send recordings to POST {address}": "{message}；录音请发送到 POST {address}",
    "internal server error; see the server log": "服务器内部错误；详见服务器日志",
}

# Of live sessions, and of what clients send.
_SESSIONS = {
    "the server has all the connections it may have": "服务器的连接数已满",
    "not everything was scored in time; results still come": "部分音频未能及时得到得分；结果仍会陆续到达",
    "this server scores the {watched}'s voice only, and one channel may hold both: start with channels: 2,"
    " the {left} left and the {right} right": (
        "本服务器只对 {watched} 的声音评分，而一个声道可能含有双方的声音：请用 channels: 2 开始，"
        "左声道为 {left}，右声道为 {right}"
    ),
    "no session of this id belongs to this connection; send start": "本连接没有这个会话；请发送 start",
    "this connection's session has ended or was taken up by another; send start to open one": (
        "本连接的会话已结束，或已由另一个连接接管；请发送 start 新建会话"
    ),
    "there is no session; send start or audio_stream first": "还没有会话；请先发送 start 或 audio_stream",
    "the server takes no new sessions for the moment, so that those it has stay live; try again in {n} s": (
        "服务器暂不接受新会话，以保证现有会话的实时性；请 {n} 秒后重试"
    ),
    "the reference samples are being heard (files.samples)": "正在听取参考样本（files.samples）",
    "longer than {n} s": "长于 {n} 秒",
    "the server is shutting down; try again in a minute": "服务器正在关闭；请一分钟后重试",
    "the server is shutting down": "服务器正在关闭",
    "the model is still loading; try again in a few seconds": "模型仍在加载；请几秒后重试",
    "this resume_token is not that session's": "这个 resume_token 不属于该会话",
    "all {n} sessions are taken; try again later": "{n} 个会话已全部占用；请稍后重试",
    "one connection may hold {n} sessions (one of two channels counts twice); stop one first": (
        "一个连接最多同时有 {n} 个会话（双声道会话按两个计）；请先结束一个"
    ),
    "a session of this id is open; choose another id, or give its resume_token": (
        "这个标识的会话已经打开；请换一个标识，或给出它的 resume_token"
    ),
    "this session is being closed; start another one": "该会话正在关闭；请新建会话",
    "expected seq {expected}, got {seq}; resend from {again}": (
        "应为 seq {expected}，收到的是 {seq}；请从 {again} 开始重发"
    ),
    "the chunk holds {s} s of audio; send at most {most} s at a time": (
        "数据块含有 {s} 秒音频；每次最多发送 {most} 秒"
    ),
    "the chunk holds {size} bytes; send at most {most} at a time": (
        "数据块有 {size} 字节；每次最多发送 {most} 字节"
    ),
    "more than {s} s ahead of real time": "比实时超前了 {s} 秒以上",
    "{ahead}; resend this chunk a little later": "{ahead}；请稍后重发这个数据块",
    "more than {n} messages a second{advice}": "每秒消息超过 {n} 条{advice}",
    "; send longer chunks": "；请发送更长的数据块",
    "there is no event {event} here; known: {known}": "这里没有事件 {event}；可用的有：{known}",
    "expected one argument, got {n}": "应有一个参数，收到 {n} 个",
    "expected an object with fields, got {kind}": "应为含有字段的对象，收到的是 {kind}",
    "audio_stream needs 'chunk': base64 text or bytes": "audio_stream 需要 'chunk'：base64 文本或字节",
    "'seq' must not be negative": "'seq' 不能为负数",
    "'chunk' is not base64: {why}": "'chunk' 不是 base64：{why}",
    "unknown field {name}; known: {known}": "未知字段 {name}；可用的有：{known}",
    "{name} must be {wanted}, got {kind}": "{name} 必须是 {wanted}，收到的是 {kind}",
    "an integer": "整数",
    "text": "文本",
    "true or false": "true 或 false",
    "an object of short texts": "由短文本组成的对象",
    "base64 text or bytes": "base64 文本或字节",
    "{name} must be text, got {kind}": "{name} 必须是文本，收到的是 {kind}",
    "{name} must be at most {n} printable characters": "{name} 最多 {n} 个可打印字符",
    "'tags' holds {n} pairs; give at most {most}": "'tags' 含有 {n} 对；最多 {most} 对",
    "'tags' has the key {key}; keys are {wanted}": "'tags' 含有键 {key}；键应为 {wanted}",
    "1 to 24 of a-z, 0-9, '-' and '_'": "1 到 24 个 a-z、0-9、'-' 和 '_'",
    "'session_id' must be 1 to {n} letters, digits, '-', '_' or '.'; or leave it out": (
        "'session_id' 必须是 1 到 {n} 个字母、数字、'-'、'_' 或 '.'；也可以不给"
    ),
    "'language' must be one of: {languages}": "'language' 必须是其中之一：{languages}",
    "encoding {encoding} is not known; send one of: {known}": "不认识编码 {encoding}；请使用其中之一：{known}",
    "sample rate {rate} Hz is out of range; send {least} to {most} Hz": (
        "采样率 {rate} Hz 超出范围；请发送 {least} 到 {most} Hz"
    ),
    "{n} channels; send 1 or 2": "声道数为 {n}；请发送 1 或 2 个声道",
    "this session has two channels, but the WAV holds one": "该会话有两个声道，而 WAV 只有一个",
    "the chunk holds more than {n} WAV recordings; send fewer at a time": (
        "数据块含有 {n} 段以上的 WAV 录音；请每次少发一些"
    ),
    "the chunk holds samples that are not finite numbers (NaN or infinity)": (
        "数据块中的采样点不是有限数（NaN 或无穷大）"
    ),
    "the audio was declared as WAV but does not begin with a RIFF/WAVE header": (
        "音频声明为 WAV，但开头不是 RIFF/WAVE 文件头"
    ),
    "no audio within the first {n} bytes of the WAV header": "WAV 文件头的前 {n} 字节内没有音频",
    "the WAV header's 'fmt ' chunk is too short": "WAV 文件头的 'fmt ' 块太短",
    "the WAV header has no 'fmt ' chunk before its data": "WAV 文件头在数据之前没有 'fmt ' 块",
    "this is audio in a container ({kind}), which is not read here; send PCM or WAV, or all of it as a file": (
        "这是封装格式的音频（{kind}），这里不读取；请发送 PCM 或 WAV，或者把整段作为文件发送"
    ),
    "this is audio in a container ({kind}); start the session with encoding: auto to have it read": (
        "这是封装格式的音频（{kind}）；请用 encoding: auto 开始会话，即可读取"
    ),
    "this server cannot decode containers; send PCM or WAV": "本服务器不能解码封装格式的音频；请发送 PCM 或 WAV",
    "all {n} decoders of audio in containers are taken; send PCM, or try again later": (
        "{n} 个封装音频解码器已全部占用；请发送 PCM，或稍后重试"
    ),
    "the process that decoded this audio has ended; begin its container anew": (
        "解码这段音频的进程已经结束；请重新从头开始发送封装音频"
    ),
    "decoding it takes more computing than live audio may": "解码它所需的计算量超过了实时音频的上限",
    "this session has two channels, but the audio holds one": "该会话有两个声道，而音频只有一个",
    "{why}; send it as a file": "{why}；请作为文件发送",
    "this MP4 is not written to be read as it comes (fragmented)": "这个 MP4 不是可以边收边读的写法（分片 MP4）",
    "encrypted audio cannot be read; send {formats}": "无法读取加密的音频；请发送 {formats}",
    "encoding {encoding}: a stream takes samples and WAV; use analyze() for {again}": (
        "编码 {encoding}：流只接受采样点和 WAV；{again} 请使用 analyze()"
    ),
    "WAV format {tag} with {bits} bits is not read; send PCM of 8 to 32 bits, float, A-law or u-law": (
        "不支持 {bits} 位的 WAV 格式 {tag}；请发送 8 到 32 位 PCM、浮点、A-law 或 u-law"
    ),
    "the speech {between} got no scores in time": "{between}的语音未能及时得到得分",
    "from {start} to {end} ms": "{start} 至 {end} 毫秒",
    "this stream has ended; begin another with stream()": "这个流已经结束；请用 stream() 新建一个",
}

# Of the desk and of recorded sessions.
_DESK = {
    "all {n} desks are taken; close another, or raise monitor.max_desks": (
        "{n} 个坐席看板已全部占用；请关闭一个，或调高 monitor.max_desks"
    ),
    "list takes no fields": "list 没有字段",
    "a desk may have {n} sessions open; close one of them first": "一个坐席看板最多打开 {n} 个会话；请先关闭一个",
    "a desk may choose {n} sessions; subscribe to all instead": "一个坐席看板最多选择 {n} 个会话；请改为订阅全部",
    "'session_id' is missing: which session?": "缺少 'session_id'：是哪个会话？",
    "no session of this id is on the board; `list` names those that are": (
        "看板上没有这个标识的会话；`list` 列出现有的会话"
    ),
    "no such record; records are kept for a limited time": "没有这条记录；记录只保留一段时间",
    "'limit' must be a number from 1 to {n}": "'limit' 必须是 1 到 {n} 的数",
}

# Of the model and its engine.
_ENGINE = {
    "the model is loading": "模型正在加载",
    "the model holds too many windows": "模型待处理的窗口过多",
    "the engine is shutting down": "推理引擎正在关闭",
    "the engine holds as many windows as it may": "推理引擎待处理的窗口已满",
    "the model process is being replaced": "模型进程正在更换",
    "the model process ended: {why}; restarting": "模型进程已结束：{why}；正在重启",
    "the model process ended twice on it": "模型进程两次因它而结束",
    "the model gave scores that are not finite numbers": "模型给出的得分不是有限数",
    "the model gave scores of shape {shapes}, {n} rows were due": "模型给出的得分形状为 {shapes}，应有 {n} 行",
    "live streams have left no room for files for {s} s; try later": (
        "实时音频已有 {s} 秒没有给文件留出余地；请稍后重试"
    ),
    "no scores within {s} s": "{s} 秒内没有得分",
    "the model is overloaded": "模型过载",
    "the model is overloaded; try again later": "模型过载；请稍后重试",
    "the model {name} gives no embeddings": "模型 {name} 不提供嵌入向量",
    "there is no speech in this recording": "录音中没有语音",
}

# Of recordings as they are decoded, and of the steps.
_FILES = {
    "the recording is damaged: {why}": "录音已损坏：{why}",
    "it cannot be read on after {s} s ({why})": "读到 {s} 秒之后无法继续（{why}）",
    "its header asks for more memory than a recording needs": "文件头要求的内存超过录音所需",
    "{bad} of its {n} packets cannot be decoded": "{n} 个数据包中有 {bad} 个无法解码",
    "it ends after {s} s of the {declared} s that its header declares: cut off?": (
        "文件头声明 {declared} 秒，但只有 {s} 秒：是否被截断？"
    ),
    "its header cannot be read ({why}): cut off or damaged?": "文件头无法读取（{why}）：是否被截断或损坏？",
    "its header declares audio in no form that makes sense (rate, channels)": (
        "文件头声明的音频格式不合理（采样率、声道数）"
    ),
    "{missing} of the {n} bytes of audio that its header declares are missing": (
        "文件头声明了 {n} 字节音频，缺少其中 {missing} 字节"
    ),
    "it holds samples that are not finite numbers": "其中的采样点不是有限数",
    "the recording holds no samples": "录音中没有采样点",
    "the file is empty": "文件是空的",
    "the file holds no audio track": "文件中没有音轨",
    "unsupported file format; send {formats}": "不支持的文件格式；请发送 {formats}",
    "unsupported codec {codec}; send {formats}": "不支持的编解码器 {codec}；请发送 {formats}",
    "unsupported sample rate {rate} Hz; {least} to {most} Hz are supported": (
        "不支持的采样率 {rate} Hz；支持 {least} 到 {most} Hz"
    ),
    "{n} channels; at most {most} are supported": "声道数为 {n}；最多支持 {most} 个声道",
    "longer than {s} s; cut it up (files.max_audio_s)": "长于 {s} 秒；请分段发送（files.max_audio_s）",
    "decoding takes more than {s} s of CPU time (files.cpu_s)": "解码需要的 CPU 时间超过 {s} 秒（files.cpu_s）",
    "the process that decoded the file has ended; see the server log": "解码该文件的进程已结束；详见服务器日志",
    "the recording takes more memory than any should": "录音所需的内存过多",
    "the result cannot be saved: {why}": "结果无法保存：{why}",
    "cannot be opened: {why}": "无法打开：{why}",
    "{n} bytes": "{n} 字节",
    "{container}, {codec}, {rate} Hz, {channels}": "{container}，{codec}，{rate} Hz，{channels}",
    "1 channel": "1 个声道",
    "{n} channels": "{n} 个声道",
    "{rate} Hz to {heard} Hz, mono": "{rate} Hz 转为 {heard} Hz，单声道",
    "{speech} s of speech in {all} s, {stretches}": "{all} 秒中有 {speech} 秒语音，{stretches}",
    "1 stretch": "共 1 段",
    "{n} stretches": "共 {n} 段",
    "{frames} frames in {windows} windows, {model} on {device}": (
        "{windows} 个窗口共 {frames} 帧，{model}（{device}）"
    ),
    "nothing kept": "未保存文件",
}

# Of uploads.
_UPLOADS = {
    "files are not taken here: this system cannot hand them to a process of its own; use `analyze`": (
        "这里不接受文件：本系统无法把文件交给单独的进程；请使用 `analyze`"
    ),
    "send multipart/form-data with the recording in the field 'audio_file'": (
        "请以 multipart/form-data 发送，录音放在字段 'audio_file' 中"
    ),
    "the multipart form is malformed or incomplete: {why}": "multipart 表单有误或不完整：{why}",
    "the recording is missing: send it in the field 'audio_file'": "缺少录音：请放在字段 'audio_file' 中发送",
    "the file is larger than {mb} MB (files.max_upload_mb)": "文件大于 {mb} MB（files.max_upload_mb）",
    "unknown field {name}{hint}; known: {known}": "未知字段 {name}{hint}；可用的有：{known}",
    "; the recording goes into 'audio_file'": "；录音应放在 'audio_file' 中",
    "{name} was sent twice; send one recording at a time": "{name} 发送了两次；每次只发一段录音",
    "{name} must be {wanted}": "{name} 必须是 {wanted}",
    "a file, with a filename": "带有文件名的文件",
    "text, not a file": "文本，而不是文件",
    "the upload broke off": "上传中断",
    "{name}: the value is too long": "{name}：值太长",
    "the upload is too slow: {n} bytes in {s} s{why}": "上传太慢：{s} 秒内 {n} 字节{why}",
    ", and others wait": "，而且有别人在等待",
    ", and {s} s are allowed (files.receive_s)": "，而上限为 {s} 秒（files.receive_s）",
    "the server is receiving the maximum number of files; try again in a few seconds": (
        "服务器正在接收的文件已达上限；请几秒后重试"
    ),
    "the server is processing the maximum number of files; try again in a few seconds": (
        "服务器正在处理的文件已达上限；请几秒后重试"
    ),
    "there is no room for more results: {why} (files.keep_gb); try again later": (
        "没有空间存放更多结果：{why}（files.keep_gb）；请稍后重试"
    ),
    "your recent uploads take half of all storage": "您最近的上传已占去一半的存储空间",
    "the storage is full of recent results": "存储空间已被最近的结果占满",
    "no such result; results are kept for a limited time": "没有这个结果；结果只保留一段时间",
    "the client has disconnected": "客户端已断开连接",
    "the server cannot save results now; tell its operator": "服务器现在无法保存结果；请告知管理员",
    "the server cannot save the file: {why}; tell its operator": "服务器无法保存文件：{why}；请告知管理员",
    "a fault of the disk": "磁盘故障",
}

# Of settings, for whoever starts a program.
_SETTINGS = {
    "These settings cannot be used:": "这些设置无法使用：",
    "{source}: {key}: unknown key{hint}": "{source}：{key}：未知的设置{hint}",
    ", did you mean {name}?": "，您要写的是 {name} 吗？",
    "{variable}: unknown environment variable{hint}": "{variable}：未知的环境变量{hint}",
    "{path}: there is no such file": "{path}：没有这个文件",
    "{path}: cannot be read: {why}": "{path}：无法读取：{why}",
    "{path}: not YAML: {why}": "{path}：不是 YAML：{why}",
    "{source}: {key}: {what} (given: {value})": "{source}：{key}：{what}（给出的是 {value}）",
}

CATALOG: dict[str, str] = {**_SETTINGS, **_ACCESS, **_SESSIONS, **_DESK, **_ENGINE, **_FILES, **_UPLOADS}

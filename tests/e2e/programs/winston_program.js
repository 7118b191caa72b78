// Logs through winston-daily-rotate-file, which begins a file with another number by size.
//
// usage: winston_program.js DIR      the environment is that of journal.py
//
// It writes behind the program's back, and says nothing of a write that fails: a line is noted as written when it was
// handed over, and all are in the file at the program's end.
const fs = require('fs')
const timers = require('timers/promises')
const winston = require('winston')
const DailyRotateFile = require('winston-daily-rotate-file')

const file = new DailyRotateFile({
  dirname: process.argv[2],
  filename: 'app-%DATE%.log',
  datePattern: 'YYYY',
  maxSize: '20k',
})
const logger = winston.createLogger({
  format: winston.format.printf((info) => info.message),
  transports: [file],
})
const journal = fs.openSync(process.env.JOURNAL, 'a')

async function main () {
  for (let number = 1; !fs.existsSync(process.env.STOP); number++) {
    await (number > 2000 ? timers.setTimeout(1) : timers.setImmediate())
    const line = `${process.env.RUN} line ${String(number).padStart(7, '0')} ${'x'.repeat(60)}`
    fs.writeSync(journal, `try ${line}\n`)
    logger.info(line)
    fs.writeSync(journal, `ok ${line}\n`)
  }
  logger.end()
}

main()
